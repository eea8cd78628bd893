"""Callbacks of a fit: history, progress, the best weights, averages of them."""

import time
from statistics import fmean, median

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.training import GradientAccumulation

from vlg_fastai.console import Lines, clock, counted, say
from vlg_fastai.machine.ranks import ALONE
from vlg_fastai.model.metrics import LOW
from vlg_fastai.runs.files import write_csv

HORIZON = 0.05  # share of a fit's steps that a moving average of its weights looks back over
PEAK = 0.25  # where one-cycle peaks: the share of a fit that warms up (fastai's pct_start)


class BestWeights(Callback):
    """Keep the weights with the best validation NLL, or the best --metric, or the last ones; stop
    when it no longer improves.

    Patience counts only past the peak of the one-cycle schedule: before it the score is expected
    to stall. Without a validation side the last weights are the best. It must not run on
    `learn.validate`, so it is passed to `fit` and never to the Learner.
    """

    order, run_valid = 61, True  # after Recorder (50), which computes the value
    kept = ("best", "state", "epoch_of_best", "wait")  # by a checkpoint

    def __init__(self, patience, keep="best", metric="nll"):
        self.patience, self.keep, self.metric = patience, keep, metric
        self.best, self.state, self.epoch_of_best = np.inf, None, None

    def before_fit(self):
        self.wait = 0

    def after_epoch(self):
        row = last_row(self.learn)
        value = row.get(self.metric, row.get("nll", float("nan")))
        value = value if self.metric in LOW else -value
        if value < self.best or self.keep == "last" or not len(self.dls.valid):
            self.best, self.wait = value, 0
            state = self.model.state_dict().items()
            self.state = {key: v.detach().to("cpu", copy=True) for key, v in state}
            self.epoch_of_best = self.learn.history.rows[-1]["epoch"]
        elif self.epoch + 1 > PEAK * self.n_epoch:
            self.wait += 1
        if self.wait >= self.patience and self.epoch + 1 < self.n_epoch:
            say(f"no better validation {self.metric} for"
                f" {counted(self.wait, 'epoch')}: stopping early")  # fmt: skip
            raise CancelFitException("patience is used up")

    @property
    def chosen(self):
        "The epoch chosen on the held-out photos, or None where they did not choose it."
        return self.epoch_of_best if self.keep == "best" else None

    def restore(self, model):
        "Restore the best weights; keep the last ones if no epoch was finished."
        if self.state is not None:
            model.load_state_dict(self.state)


class History(Callback):
    """Write a row to history.csv after each epoch, across all fits of a run.

    ranks: processes that train on as many photos each, of which the first writes.
    """

    order = 51  # right after Recorder
    kept = ("rows",)

    def __init__(self, path, ranks=ALONE):
        self.path, self.ranks, self.rows, self.photos = path, ranks, [], 0

    @property
    def speed(self):
        "Median training photos per second over the epochs, or None before the first."
        rates = [row["photos_per_second"] for row in self.rows]
        return median(rates) if rates else None

    def before_epoch(self):
        self.photos, self.train_seconds, self.start = 0, 0.0, time.monotonic()

    def after_batch(self):
        if self.training:
            self.photos += len(self.yb[0]) * self.ranks.count

    def after_train(self):
        self.train_seconds = time.monotonic() - self.start

    def after_epoch(self):
        self.rows.append(
            {
                "epoch": len(self.rows) + 1,
                **last_row(self.learn),
                "lr": self.opt.hypers[-1]["lr"],
                "photos_per_second": self.photos / max(self.train_seconds, 1e-9),
                "seconds": time.monotonic() - self.start,
            }
        )
        if self.ranks.first:
            write_csv(self.path, pd.DataFrame(self.rows))


def last_row(learn):
    "The latest losses and metrics of `learn` as a dict of floats."
    names = [name for name in learn.recorder.metric_names[1:] if name != "time"]
    values = learn.recorder.values[-1]
    return {
        name: float("nan") if value is None else float(value)
        for name, value in zip(names, values, strict=False)
    }


class Progress(Callback):
    "Show a bar over batches in a terminal, lines in a log; one line with an estimate per epoch."

    order = 60  # after History, before BestWeights may end the fit
    kept = ("done",)

    def __init__(self, live, total):
        self.bar, self.total, self.done = live, total, 0

    def before_train(self):
        what, dl = f"epoch {self.done + 1}/{self.total}", self.dls.train
        self.skipped = dl.skipped if dl.resumed else 0
        self.lines = Lines(f"{what}, batch", len(dl), self.skipped)
        self.task = self.bar.add_task(what, total=len(dl), completed=self.skipped)

    def after_batch(self):
        if self.training:
            done = self.skipped + self.iter + 1
            self.bar.update(self.task, completed=done)
            self.lines.update(done)

    def after_train(self):
        self.bar.remove_task(self.task)

    def after_epoch(self):
        self.done += 1
        row = self.learn.history.rows[-1]
        left = fmean(row["seconds"] for row in self.learn.history.rows) * (self.total - self.done)
        figures = [f"{name} {row[name]:.4f}" for name in ("train_loss", "valid_loss", "nll")]
        say(
            f"epoch {self.done:>2}/{self.total}  {'  '.join(figures)}"
            f"  accuracy {row['accuracy']:.4f}  {row['photos_per_second']:.0f} photos/s"
            f"  {clock(row['seconds'])}, {clock(left)} left"
        )


class Accumulate(GradientAccumulation):
    "One optimizer step for every `n_acc` photos; the remainder at an epoch's end is dropped."

    kept = ("count",)

    def before_train(self):
        self.count = 0
        if self.opt is not None:
            self.opt.zero_grad()


class MovingAverage(Callback):
    """Validate, and so keep, a moving average of the weights (Polyak) instead of the last ones.

    It looks back over `HORIZON` of the fit's steps, however many there are. Buffers, including
    BatchNorm statistics, are the model's own.
    """

    order, run_valid = 64, True  # after BestWeights (61), which must see the average
    kept, near = ("mean",), True

    def __init__(self, steps):
        self.decay = 1 - 1 / max(HORIZON * steps, 1)

    def before_fit(self):
        self.mean = [p.detach().clone() for p in self.model.parameters()]
        self.shown = False

    def after_batch(self):
        if self.training:
            now = [p.detach() for p in self.model.parameters()]
            torch._foreach_lerp_(self.mean, now, 1 - self.decay)

    def before_validate(self):
        self._swap()

    def after_epoch(self):
        if self.shown:
            self._swap()

    def _swap(self):
        self.shown = not self.shown
        for p, mean in zip(self.model.parameters(), self.mean, strict=True):
            held = p.detach().clone()
            p.data.copy_(mean)
            mean.copy_(held)
