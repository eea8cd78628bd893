"""Keep a fit near the weights it starts from."""

import torch
from fastai.callback.core import Callback, TrainEvalCallback
from torch.nn.modules.batchnorm import _BatchNorm

from vlg_fastai.machine.transfer import pinned, sent
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

    The start waits in main memory, from where a GPU gets it group by group: the net and a moving
    average of it are all that stay there.
    """

    run_valid = False
    kept = ("start",)

    def __init__(self, strength):
        self.strength = strength

    def before_fit(self):
        body = self.opt.param_lists[:-1]
        self.start = [[p.detach().to("cpu", copy=True) for p in group] for group in body]

    def after_step(self):
        with torch.no_grad():
            for group, hyper, start in zip(
                self.opt.param_lists, self.opt.hypers, self.start, strict=False
            ):
                start[:] = [pinned(s, p.device) for s, p in zip(start, group, strict=True)]
                learns = [(p, s) for p, s in zip(group, start, strict=True) if p.requires_grad]
                if learns:
                    now, was = zip(*((p, sent(s, p.device)) for p, s in learns), strict=True)
                    torch._foreach_lerp_(now, was, min(1.0, hyper["lr"] * self.strength))
