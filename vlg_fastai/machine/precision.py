"""Make a model compute at the precision of the machine."""

from contextlib import nullcontext

import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import AMPMode, MixedPrecision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(machine):
    "The context in which a model computes at the precision of `machine`."
    if machine.precision == "fp32":
        return nullcontext()
    return torch.autocast(machine.device.type, dtype=DTYPES[machine.precision])


def callbacks(machine):
    "Callbacks for a Learner to train at the precision of `machine`."
    if machine.precision == "fp32":
        return []
    if machine.device.type == "cpu":
        return [Bf16OnCpu()]
    return [Fp16() if machine.precision == "fp16" else MixedPrecision(AMPMode.BF16)]


def release(machine):
    """Clean up after a fit that failed: free cached memory and leave the autocast it was in.

    Autocast keeps its casts of the weights until the outermost context is left; a count that stays
    above zero would make every later step compute with the weights of the batch that failed.
    """
    torch.autocast_increment_nesting()
    while torch.autocast_decrement_nesting() > 0:
        continue
    torch.clear_autocast_cache()
    torch.set_autocast_enabled(machine.device.type, False)
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()


class Fp16(MixedPrecision):
    """fastai's fp16 without its two waits per step: the fused optimizer itself divides gradients by
    the scale, and skips the step where one of them overflowed."""

    _step_supports_amp_scaling = True  # `GradScaler` then leaves both to whoever takes the step

    def before_step(self):
        self.scaler.step(self)

    def step(self):
        "Called by the scaler, which has put both on this callback: hand them to the optimizer."
        inner = self.opt.opt
        inner.grad_scale, inner.found_inf = self.grad_scale, self.found_inf

    def after_step(self):
        super().after_step()
        self.opt.opt.grad_scale = self.opt.opt.found_inf = None


class Bf16OnCpu(Callback):
    "Autocast for CPUs with native bf16; fastai's MixedPrecision supports CUDA only."

    order = 10

    def before_batch(self):
        self.context = torch.autocast("cpu", dtype=torch.bfloat16)
        self.context.__enter__()

    def after_pred(self):
        self.learn.pred = self.pred.float()

    def after_loss(self):
        self.context.__exit__(None, None, None)
