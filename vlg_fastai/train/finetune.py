"""Fit a Learner: fastai's `fit_one_cycle` with the callbacks that watch over it."""

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch

from vlg_fastai.cli import PreemptedError
from vlg_fastai.console import bar, say
from vlg_fastai.data.order import lasting, shared
from vlg_fastai.machine.device import set_aside
from vlg_fastai.machine.ranks import gone, leave
from vlg_fastai.model.batchnorm import unfold
from vlg_fastai.runs.run import HISTORY
from vlg_fastai.train.beginning import Beginning
from vlg_fastai.train.callbacks import (
    PEAK,
    BestWeights,
    History,
    Progress,
)
from vlg_fastai.train.stopping import GO_ON, SKIPS, SkipBadBatches, StopCleanly, StopTogether

DRY = {"epochs": 2, "freeze_epochs": 1}  # limits of a dry run


@dataclass(frozen=True)
class FitResult:
    "Outcome of a fit: finished, interrupted or dry run; without an epoch there are no rates."

    status: str
    lr: float | None = None
    lr_body: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    photos_per_second: float | None = None

    def facts(self):
        return asdict(self)


def fine_tune(prepared, learn, run, cbs=(), waiting=(), keep=None):
    """Fit `learn` as configured, write history.csv, leave the best weights in its model.

    Returns the `FitResult`. If memory runs out, the fit starts again with half the photos at a time
    and twice the batches per step. cbs: the caller's callbacks, besides those that save and stop;
    waiting: nets that leave the device until the fit is done; keep: builds, from a `Writer`, the
    callback that saves better nets to the run. A checkpoint in the run folder is resumed.
    """
    cfg, history = shortened(prepared.cfg), run.path / HISTORY
    if learn is None:
        return FitResult(_status(cfg))
    fit, machine = Beginning.of(prepared, learn, run.path, keep), prepared.machine
    while True:
        with set_aside(waiting, machine), watching(prepared, learn.dls, history) as watch:
            for epochs, rates, own in fit.phases(cfg, run.path, watch):
                learn.fit_one_cycle(epochs, rates, pct_start=PEAK, cbs=[*watch.cbs, *own, *cbs])
        fit.writer.settle()
        if not watch.out_of_memory:
            break
        fit.again(cfg)
    leave()
    plan, rows = fit.plan, watch.history.rows
    fit.writer.say_cost(sum(row["seconds"] for row in rows))
    if watch.stop.preempted:
        raise PreemptedError(GO_ON.format(run.words))
    watch.settle(learn, plan.lr)
    status, best = "interrupted" if watch.stop.over else _status(cfg), watch.best.chosen
    return FitResult(status, plan.lr, plan.lr_body, best, len(rows), watch.history.speed)


def _status(cfg):
    return "dry run" if cfg.dry_run else "finished"


def shortened(cfg):
    "`cfg`, with its epochs cut down for a dry run."
    if not cfg.dry_run:
        return cfg
    return replace(cfg, **{key: min(getattr(cfg, key), n) for key, n in DRY.items()})


@dataclass
class Watch:
    "The callbacks that save, report and stop a fit, and how it ended."

    history: History
    best: BestWeights
    progress: Progress
    stop: StopCleanly
    bad: SkipBadBatches
    out_of_memory: bool = False

    @property
    def cbs(self):
        return [self.history, self.best, self.progress, self.stop, self.bad]

    @property
    def over(self):
        return self.stop.over or self.bad.over

    def settle(self, learn, lr):
        "Restore the best weights and plain norms; report skipped batches and divergence."
        if self.bad.skipped:
            say(f"skipped {self.bad.skipped} batches: their loss was not finite")
        if self.bad.over:
            best = self.best.epoch_of_best
            kept = f"keeping epoch {best}" if best else "nothing is kept"
            say(f"training diverged: {kept}; try an --lr below {lr:g}")
        unfold(learn.model)  # a fit that a signal broke off leaves its norms folded
        self.best.restore(learn.model)


@contextmanager
def watching(prepared, dls, path):
    "Yield the `Watch` over a fit on `dls`; it records what ends the fit early."
    cfg, machine = shortened(prepared.cfg), prepared.machine
    with bar() as live, shared(dls, machine.ranks), lasting(dls):
        progress = Progress(live, cfg.freeze_epochs + cfg.epochs)
        watch = Watch(
            History(path, machine.ranks),
            BestWeights(cfg.patience, cfg.keep, cfg.metric),
            progress,
            StopTogether() if machine.ranks.count > 1 else StopCleanly(),
            SKIPS.get(machine.device.type, SkipBadBatches)(),
        )
        watch.bad.ranks = machine.ranks
        try:
            yield watch
        except torch.OutOfMemoryError:
            watch.out_of_memory = True
        except RuntimeError as error:  # SIGTERM to all processes also ends those that read photos
            if gone(error) or not watch.stop.over:
                raise
        finally:
            watch.stop.after_fit()
