"""Set up the start of a fit from a Learner and a checkpoint, and run its phases."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from fastai.learner import Learner

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.runs.run import CHECKPOINT
from vlg_fastai.train import checkpoint
from vlg_fastai.train.anchor import FrozenStatistics, PullToStart
from vlg_fastai.train.callbacks import Accumulate, MovingAverage
from vlg_fastai.train.checkpoint import Writer
from vlg_fastai.train.hours import After, Enough, InTime, seconds_a_batch
from vlg_fastai.train.learner import batches, stage_rates
from vlg_fastai.train.mixup import CutMix, MixUp
from vlg_fastai.train.plan import FROZEN, WHOLE, Plan
from vlg_fastai.train.prepare import Prepared
from vlg_fastai.train.resuming import Checkpointer, going_on
from vlg_fastai.train.room import fitted, forget
from vlg_fastai.train.targets import OwnPhotosLast, Targets, Unmixed, targets_of
from vlg_fastai.train.together import check_alone, check_memory, in_step

COMPILER = "inductor"


@dataclass
class Beginning:
    """Where a fit begins, and what is fixed at that point: at initial weights, to which it returns
    if memory runs out, or midway, at the checkpoint `kept`."""

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
        kept, ranks = checkpoint.read(folder / CHECKPOINT), prepared.machine.ranks
        if kept and ranks.first:
            check_same_machine(kept["here"], checkpoint.circumstances_of(prepared))
        plan, taught = Plan.of(learn.dls.bs, kept), targets_of(prepared)
        if ranks.first:
            check_alone(plan, ranks)
        ranks.meet()
        ranks.copied(learn.model.state_dict().values())
        ranks.copied([] if taught is None else [torch.from_numpy(taught)])
        if prepared.cfg.bs == "auto" and not kept:
            plan = fitted(learn, plan, prepared.machine, teaching(taught))
        if plan.bs != learn.dls.bs:
            learn.dls = batches(prepared, replace(prepared.cfg, bs=plan.bs))
        state = {key: value.cpu().clone() for key, value in learn.model.state_dict().items()}
        more = kept, plan, state, learn.loss_func, taught
        return cls(prepared, learn, Writer(folder / CHECKPOINT), keep, *more)

    def phases(self, cfg, folder, watch):
        """Yield (epochs, peak rates, callbacks): the frozen epochs, if any, then the others unless
        stopped; phases that the checkpoint has completed are skipped."""
        learn = self.learn
        if cfg.compile:
            learn.model.compile(backend=COMPILER)
        ranks = self.prepared.machine.ranks
        if ranks.first:
            self.plan = self.plan.with_rates(learn, cfg, folder, watch.progress.bar, self.teaching)
        self.plan = plan = Plan(**ranks.told(self.plan.facts()))
        if cfg.freeze_epochs and plan.phase == FROZEN:
            learn.freeze()
            fitting, limit = self.in_time(cfg, cfg.freeze_epochs, "frozen epochs")
            made = [*limit, *self.cbs(cfg, FROZEN, watch)]
            if fitting:
                yield cfg.freeze_epochs, plan.lr, made
            learn.unfreeze()
        if not watch.over:
            groups = len(learn.splitter(learn.model))
            rates = stage_rates(plan.lr_body, plan.lr, cfg.layer_decay, groups)
            fitting, limit = self.in_time(cfg, cfg.epochs)
            made = [*limit, *self.cbs(replace(cfg, epochs=fitting), WHOLE, watch)]
            if fitting:
                yield cfg.epochs, rates, made

    @property
    def teaching(self):
        return teaching(self.taught)

    def in_time(self, cfg, epochs, what="epochs"):
        "(epochs to run, callbacks that enforce it); without --hours, all epochs and no callbacks."
        if not cfg.hours:
            return epochs, []
        after, ranks = After.of(self.prepared), self.prepared.machine.ranks
        a_batch = ranks.told(seconds_a_batch(self.learn, self.teaching + frozen(cfg)))
        limit = InTime(cfg.hours, epochs, after, a_batch, what)
        limit.ranks = ranks
        limit.go_on(self.learn, self.kept) if self.kept else limit.plan(self.learn)
        return limit.total, [limit, Enough(limit)]

    def cbs(self, cfg, phase, watch):
        "Callbacks of a phase: those the options ask for, and those that save and resume."
        made, now = extras(self.learn, cfg, self.plan.steps), self.plan.at(phase)
        made += self.teaching
        about = {"plan": now.facts(), "here": checkpoint.circumstances_of(self.prepared)}
        ranks = self.prepared.machine.ranks
        if ranks.first:
            made.append(Checkpointer(self.writer, cfg.checkpoint_minutes, about, watch.stop))
        made += in_step(ranks, watch.stop, cfg.seed)
        made += [self.keep(self.writer)] if self.keep else []
        made += going_on(self.kept) if self.kept else []
        self.kept = None
        return made

    def again(self, cfg):
        "Reset everything, with half the photos at a time; UserError if not even two fit."
        learn, half, steps = self.learn, self.plan.bs // 2, 2 * self.plan.steps
        check_memory(self.prepared.machine, cfg.bs)
        if half < 2:
            raise UserError(f"--bs {cfg.bs}: not even two photos fit in memory; lower --size")
        say(
            f"out of memory with {2 * half} photos at a time: starting again with {half}, {steps}"
            " batches per step"
        )
        self.plan, self.kept = self.plan.halved(), None
        learn.loss_func, learn.opt = self.loss, None  # mixing leaves its own loss behind
        learn.model.load_state_dict(self.weights)
        forget(learn, self.prepared.machine)
        learn.unfreeze()
        learn.dls = batches(self.prepared, replace(cfg, bs=half))


def teaching(taught):
    "Callbacks that every fit needs whose batches carry the row numbers of their photos."
    return [] if taught is None else [Targets(taught)]


def check_same_machine(then, now):
    "Raise UserError if the pretrained weights differ; report anything else that does."
    then = {"processes": 1, **then}  # checkpoints of 0.1.0 do not say it
    if then["weights"] != now["weights"]:
        raise UserError(
            "--resume: the pretrained weights have changed since the run began; start from scratch"
            " with --config"
        )
    if then.get("extra") != now.get("extra"):
        raise UserError(
            "--resume: the extra photos have changed since the run began; start from scratch with"
            " --config"
        )
    same = {key for key in now if then.get(key) == now[key]}
    odd = [f"{key} {then[key]}, now {now[key]}" for key in now if key not in same]
    if odd:
        say(f"resuming close to the original run, but not bit for bit: {'; '.join(odd)}")


def extras(learn, cfg, steps):
    """Callbacks that the options ask for: MixUp or CutMix, those that keep the net near its start,
    a moving average, accumulation."""
    total = cfg.epochs * len(learn.dls.train)
    asked = [
        (cfg.mixup, lambda: MixUp(cfg.mixup)),
        (cfg.cutmix, lambda: CutMix(cfg.cutmix)),
        (cfg.mixup or cfg.cutmix, Unmixed),
        (getattr(learn.dls.train, "later", None) is not None, OwnPhotosLast),
        (cfg.l2_sp, lambda: PullToStart(cfg.l2_sp)),
        (cfg.ema, lambda: MovingAverage(total)),
        (steps > 1, lambda: Accumulate(steps * learn.dls.bs)),
    ]
    return frozen(cfg) + [make() for wanted, make in asked if wanted]


def frozen(cfg):
    "The callback that freezes the statistics of norms, where asked for: batches are faster."
    return [FrozenStatistics(cfg.compile)] if cfg.freeze_bn else []
