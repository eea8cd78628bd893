"""Learner in, fitted Learner out: fastai's `fit_one_cycle` with what watches over it."""

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fastai.callback.mixup import CutMix, MixUp

from vlg_fastai.config import UserError
from vlg_fastai.console import bar, say
from vlg_fastai.machine.device import set_aside
from vlg_fastai.machine.precision import release
from vlg_fastai.runs.run import HISTORY
from vlg_fastai.train.anchor import FrozenStatistics, PullToStart
from vlg_fastai.train.callbacks import (
    PEAK,
    Accumulate,
    BestWeights,
    History,
    MovingAverage,
    Progress,
)
from vlg_fastai.train.learner import batches, peak_rates, stage_rates
from vlg_fastai.train.stopping import SkipBadBatches, StopCleanly
from vlg_fastai.train.targets import Targets, Unmixed, targets_of

COMPILER = "inductor"
DRY = {"epochs": 2, "freeze_epochs": 1}  # the most that a dry run does


@dataclass(frozen=True)
class FitResult:
    "What came of a fit: finished, interrupted, dry run; without an epoch there are no rates."

    status: str
    lr: float | None = None
    lr_body: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    photos_per_second: float | None = None

    def facts(self):
        return dataclasses.asdict(self)


def fine_tune(prepared, learn, run, cbs=(), waiting=()):
    """Fit `learn` as the config asks, write history.csv, leave the best weights in its model.

    Returns the `FitResult`. Where memory runs out the fit starts again with half the photos at a
    time and twice the batches a step. cbs: the caller's callbacks, beside those that keep and stop;
    waiting: nets that leave the device until it is done.
    """
    cfg = shortened(prepared.cfg)
    if learn is None:
        return FitResult(_status(cfg))
    start, steps, taught = Start.of(learn), 1, targets_of(prepared)
    while True:
        away = set_aside(waiting, prepared.machine)
        with away, watching(cfg, run.path / HISTORY) as watch:
            lr_body, lr = peak_rates(learn, cfg, run.path, watch.progress.bar)
            for epochs, rates in phases(learn, cfg, lr_body, lr, watch):
                given = [*watch.cbs, *extras(learn, cfg, steps, taught), *cbs]
                learn.fit_one_cycle(epochs, rates, pct_start=PEAK, cbs=given)
        if not watch.out_of_memory:
            break
        steps *= 2
        start.again(learn, prepared, cfg, steps)
    watch.settle(learn, lr)
    status = "interrupted" if watch.stop.over else _status(cfg)
    best, speed = watch.best.chosen, watch.history.speed
    return FitResult(status, lr, lr_body, best, len(watch.history.rows), speed)


def _status(cfg):
    return "dry run" if cfg.dry_run else "finished"


def shortened(cfg):
    "`cfg`, or what is left of its epochs in a dry run."
    if not cfg.dry_run:
        return cfg
    return dataclasses.replace(cfg, **{key: min(getattr(cfg, key), n) for key, n in DRY.items()})


def phases(learn, cfg, lr_body, lr, watch):
    "Yield (epochs, peak rates): the frozen epochs, if any, then the others unless it was stopped."
    if cfg.compile:
        learn.model.compile(backend=COMPILER)
    if cfg.freeze_epochs:
        learn.freeze()
        yield cfg.freeze_epochs, lr
        learn.unfreeze()
    if not watch.over:
        groups = len(learn.splitter(learn.model))
        yield cfg.epochs, stage_rates(lr_body, lr, cfg.layer_decay, groups)


def extras(learn, cfg, steps, taught):
    """The callbacks that options ask for: targets, MixUp or CutMix, what holds the net near its
    start, a moving average, accumulation. taught: `targets_of` the photos, or None."""
    total = cfg.epochs * len(learn.dls.train)
    asked = [
        (taught is not None, lambda: Targets(taught)),
        (cfg.mixup, lambda: MixUp(cfg.mixup)),
        (cfg.cutmix, lambda: CutMix(cfg.cutmix)),
        (cfg.mixup or cfg.cutmix, Unmixed),
        (cfg.freeze_bn, FrozenStatistics),
        (cfg.l2_sp, lambda: PullToStart(cfg.l2_sp)),
        (cfg.ema, lambda: MovingAverage(total)),
        (steps > 1, lambda: Accumulate(steps * learn.dls.bs)),
    ]
    return [make() for wanted, make in asked if wanted]


@dataclass
class Watch:
    "The callbacks that keep, tell and stop a fit, and how it ended."

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
        "Put the best weights into the model; say what of the training came to nothing."
        if self.bad.skipped:
            say(f"{self.bad.skipped} batches were left out: their loss was no number")
        if self.bad.over:
            best = self.best.epoch_of_best
            kept = f"keeping epoch {best}" if best else "nothing of it is kept"
            say(f"training diverged: {kept}; try a lower --lr than {lr:g}")
        self.best.restore(learn.model)


@contextmanager
def watching(cfg, path):
    "Yield the `Watch` over a fit; it notes what ends the fit before its time."
    with bar() as live:
        progress = Progress(live, cfg.freeze_epochs + cfg.epochs)
        watch = Watch(
            History(path),
            BestWeights(cfg.patience, cfg.keep),
            progress,
            StopCleanly(),
            SkipBadBatches(),
        )
        try:
            yield watch
        except torch.OutOfMemoryError:
            watch.out_of_memory = True
        except RuntimeError:  # a polite kill of all processes also ends those that read photos
            if not watch.stop.over:
                raise
        finally:
            watch.stop.after_fit()


@dataclass(frozen=True)
class Start:
    "Where a fit began, to begin there again."

    weights: dict
    loss: object

    @classmethod
    def of(cls, learn):
        state = learn.model.state_dict()
        return cls({key: value.cpu().clone() for key, value in state.items()}, learn.loss_func)

    def again(self, learn, prepared, cfg, steps):
        "Set `learn` back, with half the photos at a time; UserError where two do not fit."
        half = learn.dls.bs // 2
        if half < 2:
            raise UserError(f"--bs {cfg.bs}: not two photos fit in memory; lower --size")
        say(
            f"out of memory with {2 * half} photos at a time: starting again with {half}, {steps}"
            " batches a step"
        )
        learn.loss_func, learn.opt = self.loss, None  # mixing leaves its own loss behind
        learn._end_cleanup()  # fastai's own, left out where a fit breaks off: lets go of the graph
        learn.loss_grad = None
        learn.model.load_state_dict(self.weights)
        learn.model.zero_grad()
        learn.unfreeze()
        release(prepared.machine)
        learn.dls = batches(prepared, dataclasses.replace(cfg, bs=half))
