"""Keep a fit near the weights it starts from."""

import torch
from fastai.callback.core import Callback, TrainEvalCallback
from torch.nn.modules.batchnorm import _BatchNorm

from vlg_fastai.machine.transfer import aside, sent
from vlg_fastai.model.batchnorm import fold_frozen, unfold


class FrozenStatistics(Callback):
    """Keep the backbone's batch-norm statistics as they were pretrained.

    A batch of 32 augmented photos estimates them worse than ImageNet did, and an average of two
    nets then needs none of its own. On a CPU, norms are folded into the convolutions meanwhile,
    unless torch.compile fuses them.
    """

    run_after, run_valid = TrainEvalCallback, False

    def __init__(self, compiled):
        self.compiled = compiled

    def before_fit(self):
        if self.dls.device.type == "cpu" and not self.compiled:
            fold_frozen(self.model)

    def before_train(self):
        for module in self.model[0].modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_fit(self):
        unfold(self.model)


class PullToStart(Callback):
    """Pull the backbone's weights toward their start instead of zero (L2-SP, Li et al., 2018),
    decoupled from the gradient like AdamW's weight decay: each step by a fraction lr x strength.

    Beside a GPU the start waits in main memory and is sent there tensor by tensor.
    """

    run_valid = False
    kept = ("start",)

    def __init__(self, strength):
        self.strength, self.groups = strength, []

    @property
    def start(self):
        "The weights to pull to, in the optimizer's groups without the head's."
        return self.groups

    @start.setter
    def start(self, groups):  # by a checkpoint as well, from which all is in main memory
        self.groups = [[aside(was, self.dls.device) for was in group] for group in groups]

    def before_fit(self):
        body = self.opt.param_lists[:-1]
        self.start = [[p.detach().to("cpu", copy=True) for p in group] for group in body]

    def after_step(self):
        with torch.no_grad():
            for group, hyper, start in zip(
                self.opt.param_lists, self.opt.hypers, self.start, strict=False
            ):
                share = min(1.0, hyper["lr"] * self.strength)
                for p, was in zip(group, start, strict=True):
                    if p.requires_grad:
                        p.lerp_(sent(was, p.device), share)
