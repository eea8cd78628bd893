"""fastai's Adam by torch's AdamW: all tensors of a group in one operation."""

from functools import partial

import torch
from fastai.optimizer import OptimWrapper, set_item_pg

FUSED = {"cpu", "cuda"}  # devices that update all tensors in one kernel; others take several
HYPERS = ("lr", "mom", "sqr_mom", "eps", "wd")  # as fastai names them


class FusedAdamW(OptimWrapper):
    """The same steps as fastai's `Adam` (decoupled weight decay, AdamW), within rounding.

    fastai's Adam takes 13 or 14 operations a tensor. Each of fastai's groups is two of torch's,
    with and without weight decay: `OptimWrapper` ignores the mark `do_wd` that fastai gives to
    parameters of norms and to biases. params: lists of parameters, one per group.
    """

    def __init__(self, params, lr, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.01):
        lists = [list(group) for group in params]
        fused = {p.device.type for group in lists for p in group} <= FUSED
        kind = {"fused": True} if fused else {"foreach": True}
        made = partial(torch.optim.AdamW, betas=(mom, sqr_mom), eps=eps, weight_decay=wd, **kind)
        groups = [{"params": [*group]} for group in lists] + [{"params": []} for _ in lists]
        super().__init__(groups, made, convert_groups=False, lr=lr)
        self.lists, self.fused, self.parted = lists, fused, False

    @property
    def param_lists(self):
        "The parameters of each of fastai's groups, decayed or not."
        return self.lists

    @property
    def hypers(self):
        "Hyper-parameters of each of fastai's groups, by fastai's names."
        told = super().hypers[: len(self.lists)]
        return [{name: hyper[name] for name in HYPERS} for hyper in told]

    def _set_hyper(self, k, v):
        for value, decayed, bare in zip(v, *self._halves(), strict=True):
            set_item_pg(decayed, self.bwd_map[k], value)
            set_item_pg(bare, self.bwd_map[k], 0.0 if k == "wd" else value)

    def _halves(self):
        groups = self.opt.param_groups
        return groups[: len(self.lists)], groups[len(self.lists) :]

    def step(self, closure=None):
        if not self.parted:  # here, since fastai marks parameters after it made the optimizer
            self._part()
        self.opt.step(closure)

    def _part(self):
        for group, decayed, bare in zip(self.lists, *self._halves(), strict=True):
            parts = [], []
            for p in group:
                parts[self.state[p].get("do_wd", True)].append(p)
            bare["params"], decayed["params"] = parts
            bare["weight_decay"] = 0.0
        self.parted = True

    def kept(self, named):
        "State for `go_on`; named: {name: parameter}."
        state = {name: dict(self.opt.state.get(p, {})) for name, p in named.items()}
        return {"hypers": self.hypers, "state": state}

    def go_on(self, told, named):
        "Continue where `kept` was called, on any device."
        for key in HYPERS:
            self.set_hyper(key, [hyper[key] for hyper in told["hypers"]])
        for name, p in named.items():
            self.opt.state[p] = {k: self._placed(v, p) for k, v in told["state"][name].items()}

    def _placed(self, value, p):
        "A moment in the memory format of `p`; the number of steps where the kernel looks for it."
        if value.ndim:
            return torch.empty_like(p).copy_(value)
        return value.to(p.device if self.fused else "cpu")
