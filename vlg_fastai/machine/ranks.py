"""What the processes that train one net together tell each other; a process alone tells nothing.

Numbers and flags travel through main memory (gloo), so that no GPU is waited for; gradients and
what is decided on a GPU through NCCL.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import torch
from torch import distributed

from vlg_fastai import launch

PATIENCE = timedelta(days=7)  # for the first process to prepare a run: it may decode for hours
SILENCE = timedelta(minutes=30)  # during a fit, after which the others count as dead
BACKENDS = {"cuda": "nccl"}  # type of a device -> what gradients travel by; gloo elsewhere
GONE = (  # in an error
    "connection closed", "connection reset", "likely closed", "broken pipe", "remote process exited"
)  # fmt: skip


@dataclass(frozen=True)
class Ranks:
    "This process among the `count` that train one net, the first of which is `number` 0."

    number: int = 0
    count: int = 1

    @property
    def first(self):
        return self.number == 0

    def told(self, value, patient=False):
        "The `value` of the first process, as JSON holds it; patient: it may take hours to come."
        if self.count == 1:
            return value
        group = None if patient else wire("cpu")
        text = bytearray(json.dumps(value).encode() if self.first else b"")
        length = torch.tensor([len(text)])
        distributed.broadcast(length, 0, group)
        body = torch.frombuffer(text or bytearray(length.item()), dtype=torch.uint8)
        distributed.broadcast(body, 0, group)
        return json.loads(bytes(body.numpy()))

    def meet(self):
        "Wait until all processes are here, if it takes hours."
        if self.count > 1:
            distributed.barrier()

    def copied(self, tensors):
        "Overwrite `tensors` with those of the first process."
        for tensor in tensors if self.count > 1 else ():
            sent = tensor.detach().cpu().contiguous()
            distributed.broadcast(sent, 0, wire("cpu"))
            tensor.detach().copy_(sent)

    def most(self, number):
        "The largest `number` that any process gives."
        if self.count == 1:
            return number
        return self._joined(torch.tensor([int(number)]), distributed.ReduceOp.MAX).item()

    def anywhere(self, flag):
        "The tensor `flag` (bool), True if it is so in any process; it stays on its device."
        if self.count == 1:
            return flag
        found = flag.as_subclass(torch.Tensor).to(torch.uint8)
        distributed.all_reduce(found, distributed.ReduceOp.MAX, wire(found.device.type))
        return found.bool()

    def total(self, numbers):
        "Sums of `numbers` over all processes."
        return self._joined(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def level(self, tensors):
        "Replace each of `tensors` by its mean over all processes."
        for tensor in tensors:
            tensor.copy_(self._joined(tensor.cpu().contiguous()) / self.count)

    def gathered(self, rows):
        "`rows` (n, width) of all processes, in their order; one that has none gives (0, 0)."
        shapes = self._of_all(torch.tensor(rows.shape))
        most, width = shapes.max(0).values.tolist()
        padded = rows.new_zeros(most, width)
        padded[: len(rows), : rows.shape[1]] = rows
        lengths = shapes[:, 0].tolist()
        return torch.cat([own[:n] for own, n in zip(self._of_all(padded), lengths, strict=True)])

    def _of_all(self, tensor):
        found = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(found, tensor, wire("cpu"))
        return torch.stack(found)

    def _joined(self, tensor, how=distributed.ReduceOp.SUM):
        tensor = tensor.clone()
        distributed.all_reduce(tensor, how, wire("cpu"))
        return tensor


ALONE = Ranks()


@cache
def join():
    "Meet the processes that torchrun started, if it did; returns the `Ranks` of this one."
    if launch.processes() == 1:
        return ALONE
    distributed.init_process_group("gloo", timeout=PATIENCE)
    wire("cpu")  # now: later, the others would wait for the first one
    return Ranks(launch.number(), launch.processes())


@cache
def wire(kind):
    "The group of all processes for tensors on devices of a `kind`; all ask for it at one point."
    return distributed.new_group(backend=BACKENDS.get(kind, "gloo"), timeout=SILENCE)


def leave():
    "Part from the other processes: the fit is over."
    if distributed.is_initialized():
        distributed.barrier(wire("cpu"))  # none may hang up while another still reads
        distributed.destroy_process_group()


def gone(error):
    "How `error` says that another process has ended or cannot be reached; None if it does not."
    lines = str(error).splitlines() if distributed.is_initialized() else []
    found = [line for line in lines if any(word in line.lower() for word in GONE)]
    return found[0].split("] ", 1)[-1].split(". ")[0].strip() if found else None
