"""Move tensors between main memory and a GPU while it computes."""

import torch


class Coming:
    """A tensor on its way to main memory.

    `.cpu()` would wait for all that was launched before it; `here` waits for this copy alone.
    """

    def __init__(self, tensor):
        self.tensor = tensor.to("cpu", non_blocking=tensor.is_cuda)  # pins what it copies to
        self.arrived = torch.cuda.Event() if tensor.is_cuda else None
        if self.arrived:
            self.arrived.record()

    @property
    def here(self):
        "The tensor in main memory."
        if self.arrived:
            self.arrived.synchronize()
        return self.tensor


def aside(tensor, device):
    "`tensor` where `device` leaves what it seldom needs: a GPU in main memory, ready to be sent."
    return tensor.cpu().pin_memory() if device.type == "cuda" else tensor.to(device)


def sent(tensor, device):
    "`tensor` on `device`, or on its way there."
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def one_behind(launched):
    "Yield each of `launched` once the next one is launched, so that the device never waits."
    last = None
    for one in launched:
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def wait_for(device):
    "Wait until `device` has done all it was given: before a clock is read."
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device):
    "Free memory of a GPU, in bytes; 0 where main memory is all there is."
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
