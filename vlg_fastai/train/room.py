"""Find how many photos at a time fit into the memory of a device."""

from dataclasses import replace

import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.machine.precision import release
from vlg_fastai.train.trial import undone

FEWEST, TRIALS = 2, 16  # photos of the first trial; trials, each with twice as many


class Growing(Callback):
    "Train on twice as many photos of a batch each time, until all of it has fitted."

    order = -6  # before Targets (-5) looks up those of the batch

    def __init__(self):
        self.photos, self.fitted = FEWEST, 0

    def before_batch(self):
        parts = (tuple(one[: self.photos] for one in part) for part in (self.xb, self.yb))
        self.learn.xb, self.learn.yb = parts

    def after_batch(self):
        self.fitted = self.photos
        if self.fitted == self.dls.train.bs:
            raise CancelFitException("all of a batch fits")
        self.photos = min(2 * self.photos, self.dls.train.bs)

    def before_validate(self):
        raise CancelValidException


def fitted(learn, plan, machine, cbs=()):
    """The `plan` with as many photos at a time as fit, and as many batches per step as keep their
    number; weights, optimizer, generators and the loader of `learn` are left unchanged.

    cbs: callbacks that the fit requires. UserError if not even two photos fit.
    """
    growing = Growing()
    with undone(learn):
        try:
            learn.fit(TRIALS, cbs=[growing, *cbs])
        except torch.OutOfMemoryError:
            forget(learn, machine)
    if not growing.fitted:
        raise UserError("--bs auto: not even two photos fit in memory; lower --size")
    steps = -(-plan.bs // growing.fitted)
    more = f", {steps} batches per step" if steps > 1 else ""
    say(f"--bs auto: {growing.fitted} photos at a time fit{more}")
    return replace(plan, bs=growing.fitted, steps=steps)


def forget(learn, machine):
    "Release what a batch that ran out of memory has left: its graph, its autocast, its cache."
    learn._end_cleanup()  # fastai skips it when a fit breaks off
    learn.loss_grad = None
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, Growing)])
    learn.model.zero_grad()
    release(machine)
