"""DataLoaders and config in, fastai Learner out; and the fit that the config asks for."""

import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import valley
from fastai.losses import LabelSmoothingCrossEntropy
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from fastai.vision.learner import vision_learner
from timm.models import group_parameters
from torch import nn

from vlg_fastai.config import UserError
from vlg_fastai.console import bar, say
from vlg_fastai.model import backbone, precision
from vlg_fastai.model.callbacks import (
    PEAK,
    Accumulate,
    BestWeights,
    CalibratedNLL,
    History,
    MovingAverage,
    Progress,
    StopCleanly,
    StopOnNaN,
)
from vlg_fastai.model.head import assemble

BODY_SHARE = 1 / 20  # the backbone's learning rate over the head's: 1e-4 beside 2e-3
COMPILER = "inductor"
LOWEST_LR, HIGHEST_LR = 1e-5, 1e-1  # what the finder may suggest


def build(dls, source, trained, cfg, machine):
    """A Learner over `dls`: a backbone of `source`, our head, the original's loss and AdamW.

    trained: the state of the backbone to start from, or None for one that knows nothing.
    """
    with backbone.explained(source, cfg.size):
        learn = vision_learner(
            dls,
            source.arch,
            custom_head=nn.Identity(),
            init=None,
            normalize=False,
            pretrained=False,
            loss_func=LabelSmoothingCrossEntropy(cfg.label_smoothing),
            opt_func=Adam,  # decoupled weight decay: what others call AdamW
            metrics=[CalibratedNLL(), accuracy],
            wd=cfg.wd,
            **backbone.net_options(source.arch, cfg.size),
        )
    net = learn.model[0].model
    if trained is not None:
        net.load_state_dict({key: trained[key] for key in net.state_dict()})
    learn.model = assemble(net, cfg.head, dls.c, source, cfg.size).to(machine.device)
    learn.opt = None  # made for the model before the swap; the next fit makes its own
    if cfg.layer_decay < 1:
        learn.splitter = by_stage
    learn.unfreeze()
    learn.remove_cb(ProgressCallback)
    learn.model.to(memory_format=machine.memory_format)
    precision.spare_depthwise(learn.model, machine)
    learn.add_cbs(precision.callbacks(machine))
    learn.logger = lambda row: None
    return learn


def fit(learn, cfg, path, steps=1):
    """Fit as `cfg` asks, write history.csv to `path` and leave the best weights in `learn.model`.

    steps: batches that are accumulated to one step of the optimizer.

    Returns a dict: status (finished or interrupted), lr, lr_body, best_epoch, epochs and the
    median of photos_per_second (None without a finished epoch).
    """
    lr = find_lr(learn) if cfg.lr == "find" else cfg.lr
    lr_body = cfg.lr_body or lr * (BODY_SHARE if cfg.pretrained else 1)
    if cfg.compile:
        learn.model.compile(backend=COMPILER)
    best, stop, nan = BestWeights(cfg.patience), StopCleanly(), StopOnNaN()
    history = History(path)
    with bar() as live:
        progress = Progress(live, cfg.freeze_epochs + cfg.epochs)
        cbs = [history, best, progress, stop, nan, *extras(learn, cfg, steps)]
        try:
            _fit_phases(learn, cfg, (lr_body, lr), cbs)
        except RuntimeError:  # a polite kill of all processes also ends those that read photos
            if not stop.over:
                raise
        finally:
            stop.after_fit()
    _check_divergence(nan, best, lr)
    best.restore(learn.model)
    return {
        "status": "interrupted" if stop.over else "finished",
        **{"lr": lr, "lr_body": lr_body, "best_epoch": best.epoch_of_best},
        **{"epochs": len(history.rows), "photos_per_second": history.speed},
    }


def _fit_phases(learn, cfg, lr, cbs):
    "The frozen epochs, if any, then the others; a fit that was told to stop is the last."
    if cfg.freeze_epochs:
        learn.freeze()
        learn.fit_one_cycle(cfg.freeze_epochs, lr[1], pct_start=PEAK, cbs=cbs)
        learn.unfreeze()
    if not any(getattr(cb, "over", False) for cb in cbs):
        rates = stage_rates(*lr, cfg.layer_decay, len(learn.splitter(learn.model)))
        learn.fit_one_cycle(cfg.epochs, rates, pct_start=PEAK, cbs=cbs)


def by_stage(model):
    "Parameters of [Backbone, head] in groups: the stages of the net as timm names them, the head."
    net, head = model[0].net, model[1]
    named = dict(net.named_parameters())
    stages = group_parameters(net, net.group_matcher(coarse=True))
    return [[named[name] for name in stages[i]] for i in sorted(stages)] + [[*head.parameters()]]


def stage_rates(lr_body, lr, decay, groups):
    "Peak learning rate of each group: `lr` for the head, below it `lr_body`, less for each stage."
    return [lr_body * decay**depth for depth in reversed(range(groups - 1))] + [lr]


def extras(learn, cfg, steps):
    "The callbacks that options ask for: MixUp or CutMix, a moving average, accumulation."
    total = cfg.epochs * len(learn.dls.train)
    mixing = [kind(alpha) for kind, alpha in ((MixUp, cfg.mixup), (CutMix, cfg.cutmix)) if alpha]
    averaging = [MovingAverage(total)] if cfg.ema else []
    return [*mixing, *averaging, *([Accumulate(steps * learn.dls.bs)] if steps > 1 else [])]


def _check_divergence(nan, best, lr):
    if nan.over and best.state is None:
        raise UserError(f"--lr {lr:g}: training diverged in the first epoch; try a tenth of it")
    if nan.over:
        say(f"training diverged: keeping epoch {best.epoch_of_best}; try a lower --lr than {lr:g}")


def find_lr(learn):
    "The learning rate that fastai's finder suggests; what it touches is as it was afterwards."
    numbers, path = (torch.get_rng_state(), np.random.get_state(), random.getstate()), learn.path
    try:
        found = _valley(learn)
    finally:
        learn.path = path
        torch.set_rng_state(numbers[0])
        np.random.set_state(numbers[1])
        random.setstate(numbers[2])
    lr = float(np.clip(found, LOWEST_LR, HIGHEST_LR))
    say(f"learning rate found: {lr:.2g}")
    return lr


def _valley(learn):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading its own file back, fastai touches old numpy names
        learn.path = Path(folder)
        try:
            return learn.lr_find(show_plot=False, suggest_funcs=(valley,)).valley
        except IndexError:  # the loss rose at once: there is no valley
            return LOWEST_LR
