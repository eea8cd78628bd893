"""Learner in, fitted Learner out: fastai's `fit_one_cycle` with what watches over it."""

import dataclasses
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from fastai.callback.mixup import CutMix, MixUp
from fastai.learner import Learner

from vlg_fastai.cli import PreemptedError
from vlg_fastai.config import UserError
from vlg_fastai.console import bar, say
from vlg_fastai.machine.device import set_aside
from vlg_fastai.machine.precision import release
from vlg_fastai.runs.run import CHECKPOINT, HISTORY
from vlg_fastai.train import checkpoint
from vlg_fastai.train.anchor import FrozenStatistics, PullToStart
from vlg_fastai.train.callbacks import (
    PEAK,
    Accumulate,
    BestWeights,
    History,
    MovingAverage,
    Progress,
)
from vlg_fastai.train.checkpoint import Writer
from vlg_fastai.train.learner import batches, stage_rates
from vlg_fastai.train.plan import FROZEN, WHOLE, Plan
from vlg_fastai.train.prepare import Prepared
from vlg_fastai.train.resuming import Checkpointer, going_on
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


def fine_tune(prepared, learn, run, cbs=(), waiting=(), keep=None):
    """Fit `learn` as the config asks, write history.csv, leave the best weights in its model.

    Returns the `FitResult`. Where memory runs out the fit starts again with half the photos at a
    time and twice the batches a step. cbs: the caller's callbacks, beside those that keep and stop;
    waiting: nets that leave the device until it is done; keep: makes of a `Writer` the callback
    that has the run hold better nets. A checkpoint in the run folder is where it goes on.
    """
    cfg = shortened(prepared.cfg)
    if learn is None:
        return FitResult(_status(cfg))
    fit = Beginning.of(prepared, learn, run.path, keep)
    while True:
        with set_aside(waiting, prepared.machine), watching(cfg, run.path / HISTORY) as watch:
            for epochs, rates, own in fit.phases(cfg, run.path, watch):
                learn.fit_one_cycle(epochs, rates, pct_start=PEAK, cbs=[*watch.cbs, *own, *cbs])
        fit.writer.settle()
        if not watch.out_of_memory:
            break
        fit.again(cfg)
    fit.writer.say_cost(sum(row["seconds"] for row in watch.history.rows))
    if watch.stop.preempted:
        raise PreemptedError(f"stopped; go on where it was: train.py --resume {run.number}")
    watch.settle(learn, fit.plan.lr)
    status = "interrupted" if watch.stop.over else _status(cfg)
    plan, best = fit.plan, watch.best.chosen
    return FitResult(
        status, plan.lr, plan.lr_body, best, len(watch.history.rows), watch.history.speed
    )


def _status(cfg):
    return "dry run" if cfg.dry_run else "finished"


def shortened(cfg):
    "`cfg`, or what is left of its epochs in a dry run."
    if not cfg.dry_run:
        return cfg
    return dataclasses.replace(cfg, **{key: min(getattr(cfg, key), n) for key, n in DRY.items()})


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


@dataclass
class Beginning:
    """Where a fit begins: at weights, to begin there again where memory runs out, or in its midst,
    at the checkpoint `kept`; and what is settled then."""

    prepared: Prepared
    learn: Learner
    writer: Writer
    keep: Callable | None
    kept: dict | None
    plan: Plan
    weights: dict
    loss: object
    taught: np.ndarray | None

    @classmethod
    def of(cls, prepared, learn, folder, keep):
        kept = checkpoint.read(folder / CHECKPOINT)
        plan = Plan.of(learn.dls.bs, kept)
        if plan.bs != learn.dls.bs:
            learn.dls = batches(prepared, dataclasses.replace(prepared.cfg, bs=plan.bs))
        state = {key: value.cpu().clone() for key, value in learn.model.state_dict().items()}
        more = kept, plan, state, learn.loss_func, targets_of(prepared)
        return cls(prepared, learn, Writer(folder / CHECKPOINT), keep, *more)

    def phases(self, cfg, folder, watch):
        """Yield (epochs, peak rates, callbacks): the frozen epochs, if any, then the others unless
        it was stopped; none that is over in the checkpoint."""
        learn = self.learn
        if cfg.compile:
            learn.model.compile(backend=COMPILER)
        plan = self.plan = self.plan.with_rates(learn, cfg, folder, watch.progress.bar)
        if cfg.freeze_epochs and plan.phase == FROZEN:
            learn.freeze()
            yield cfg.freeze_epochs, plan.lr, self.cbs(cfg, FROZEN, watch)
            learn.unfreeze()
        if not watch.over:
            groups = len(learn.splitter(learn.model))
            rates = stage_rates(plan.lr_body, plan.lr, cfg.layer_decay, groups)
            yield cfg.epochs, rates, self.cbs(cfg, WHOLE, watch)

    def cbs(self, cfg, phase, watch):
        "Callbacks of a phase: those that options ask for, and those that keep and go on."
        made = extras(self.learn, cfg, self.plan.steps, self.taught)
        now = self.plan.at(phase)
        made.append(Checkpointer(self.writer, cfg.checkpoint_minutes, now, watch.stop))
        made += [self.keep(self.writer)] if self.keep else []
        made += going_on(self.kept) if self.kept else []
        self.kept = None
        return made

    def again(self, cfg):
        "Set all back, with half the photos at a time; UserError where two do not fit."
        learn, half, steps = self.learn, self.plan.bs // 2, 2 * self.plan.steps
        if half < 2:
            raise UserError(f"--bs {cfg.bs}: not two photos fit in memory; lower --size")
        say(
            f"out of memory with {2 * half} photos at a time: starting again with {half}, {steps}"
            " batches a step"
        )
        self.plan, self.kept = self.plan.halved(), None
        learn.loss_func, learn.opt = self.loss, None  # mixing leaves its own loss behind
        learn._end_cleanup()  # fastai's own, left out where a fit breaks off: lets go of the graph
        learn.loss_grad = None
        learn.model.load_state_dict(self.weights)
        learn.model.zero_grad()
        learn.unfreeze()
        release(self.prepared.machine)
        learn.dls = batches(self.prepared, dataclasses.replace(cfg, bs=half))
