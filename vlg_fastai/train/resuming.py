"""Checkpoint a fit, and resume one as if it had never stopped."""

import time

import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.torch_core import to_device

from vlg_fastai.machine import randomness
from vlg_fastai.train.callbacks import Accumulate


class Checkpointer(Callback):
    """Save all that the fit depends on after each epoch, every `minutes` within one (0: never), and
    when it is asked to stop.

    about: what a resumed fit must not choose again, and where it ran. The losses that Recorder
    lists for plots are not saved: nothing depends on them.
    """

    order, run_valid = 65, False  # after MovingAverage (64) has put the weights back

    def __init__(self, writer, minutes, about, stop):
        self.writer, self.about, self.stop = writer, about, stop
        self.pause = 60 * minutes or float("inf")

    def before_fit(self):
        self.last = time.monotonic()

    def after_batch(self):
        if self.stop.over or time.monotonic() - self.last > self.pause:
            self._keep(self.epoch, self.dls.train.skipped + self.iter + 1)

    def after_epoch(self):
        self._keep(self.epoch + 1, 0)

    def _keep(self, epoch, batches):
        place = {"epoch": epoch, "batches": batches, "train_iter": self.train_iter}
        place["pct_train"] = float(self.pct_train)
        self.writer.keep({**self.about, "place": place, **state_of(self.learn, batches)})
        self.last = time.monotonic()


def state_of(learn, batches):
    "Everything the rest of the fit of `learn` depends on, `batches` into an epoch."
    loss = learn.recorder.smooth_loss
    scaler = getattr(learn, "scaler", None)
    named = dict(learn.model.named_parameters())
    gathers = any(isinstance(cb, Accumulate) for cb in learn.cbs)  # for a step still to come
    return {
        "model": learn.model.state_dict(),
        "opt": learn.opt.kept(named),
        "grad": {name: p.grad for name, p in named.items() if gathers and p.grad is not None},
        "scaler": scaler.state_dict() if scaler else {},
        "smooth_loss": {"count": loss.count, "val": loss.val},
        "callbacks": {type(cb).__name__: {key: getattr(cb, key) for key in cb.kept}
                      for cb in learn.cbs if hasattr(type(cb), "kept")},
        "loader": learn.dls.train.kept(batches),
        "random": randomness.state(),
    }  # fmt: skip


class Skip(Callback):
    """Skip the epochs before the resumed one, and hide them from all other callbacks.

    fastai's own `start_epoch` skips them as well, but tells every callback that they ended.
    """

    order = -1000

    def __init__(self, place):
        self.first, self.muted = place["epoch"], []

    def before_epoch(self):
        if self.epoch < self.first:
            self.muted = [cb for cb in self.learn.cbs if cb.run and not isinstance(cb, Skip | GoOn)]
            for callback in self.muted:
                callback.run = False
            raise CancelEpochException("this epoch is done")

    def unmute(self):
        for callback in self.muted:
            callback.run = True
        self.muted = []


class GoOn(Callback):
    "Restore the `state` of a checkpoint once everything else is ready to begin."

    order = 1000

    def __init__(self, state, skip):
        self.told, self.skip = state, skip

    def before_fit(self):
        told, learn = self.told, self.learn
        learn.model.load_state_dict(told["model"])
        learn.opt.go_on(told["opt"], dict(learn.model.named_parameters()))
        if told["scaler"] and getattr(learn, "scaler", None):  # a GPU's run may resume without
            learn.scaler.load_state_dict(told["scaler"])
        loss = learn.recorder.smooth_loss
        loss.count, loss.val = told["smooth_loss"]["count"], told["smooth_loss"]["val"]
        restore_callbacks(learn, told)
        learn.dls.train.go_on(told["loader"])
        learn.train_iter = told["place"]["train_iter"]
        randomness.restore(told["random"])

    def before_train(self):
        "Restore within an epoch, after all other callbacks began it: they reset their counts."
        place = self.told["place"]
        if place["batches"] and self.epoch == place["epoch"]:
            self.learn.pct_train = place["pct_train"]
            restore_callbacks(self.learn, self.told)
            restore_gradients(self.learn, self.told)

    def after_epoch(self):
        self.skip.unmute()


def restore_callbacks(learn, told):
    "Restore what the callbacks of `learn` had gathered."
    for callback in learn.cbs:
        for key, value in told["callbacks"].get(type(callback).__name__, {}).items():
            near = getattr(type(callback), "near", False)  # on the model's device
            setattr(callback, key, to_device(value, learn.dls.device) if near else value)


def restore_gradients(learn, told):
    "Restore gradients gathered for a step still to come."
    for name, p in learn.model.named_parameters():
        kept = told["grad"].get(name)
        p.grad = None if kept is None else torch.empty_like(p).copy_(kept)


def going_on(state):
    "The callbacks that resume from the checkpoint `state`."
    return [skip := Skip(state["place"]), GoOn(state, skip)]
