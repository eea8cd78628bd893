"""Work in, candidate models out: the probe, the warm start, the fine-tuned net, their average."""

import dataclasses
from copy import deepcopy

import numpy as np
import torch
from fastai.torch_core import set_seed
from torch import nn

from vlg_fastai import runs
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import loaders
from vlg_fastai.data.augment import MIN_SCALE, finest
from vlg_fastai.model import backbone, bundle, candidates, inference, learner, probe, warm
from vlg_fastai.model.candidates import Candidate
from vlg_fastai.model.precision import release

NO_FIT = {  # what comes of the fit of a run that has none
    "lr": None, "lr_body": None, "best_epoch": None, "epochs": 0,
    "photos_per_second": None,
}  # fmt: skip


def build(work, source):
    "The Learner, with every random number drawn from the seed."
    set_seed(work.cfg.seed, reproducible=True)  # before the loaders: they draw a seed when made
    state = trained_state(work, source)
    return learner.build(batches(work, work.cfg), source, state, work.cfg, work.machine)


def batches(work, cfg):
    "The DataLoaders of the photos of `work`; crops of varied size are cut from finer pixels."
    card, smallest, pixels = work.card, MIN_SCALE.get(cfg.aug), work.pixels
    if smallest:
        pixels = card.view.pixels(work.table, work.store, detail=finest(smallest))
    return loaders.build(work.table, card.classes, card.view, pixels, work.machine, cfg)


def trained_state(work, source):
    "The tensors that fine-tuning starts from; None for a backbone that knows nothing."
    if source.kind == "nothing":
        return None
    net = work.frozen.net if work.frozen else backbone.trained(source, work.cfg.size)
    return net.state_dict()


def probed(work):
    """(the probe as a Candidate, its OutOfFold over all photos, held-out ones included).

    It is judged by logits of probes that saw neither the photo nor its near-duplicates; what is
    kept was fitted on all photos.
    """
    x, y = work.frozen.features(work.table, work.pixels), work.labels
    groups, classes = work.table["group"].to_numpy(), len(work.card.classes)
    fold = probe.out_of_fold(x, y, groups, classes, work.store, work.cfg.seed)
    head = probe.fit(x, y, fold.strength, classes).to(work.machine.device)
    model = nn.Sequential(work.frozen.backbone, head)
    temperature = inference.fit_temperature(fold.logits, y)
    return Candidate("probe", "linear", model, fold.logits[work.held], temperature), fold


def tuned(work, learn, run):
    "([warm start, average, fine-tuned] or the last alone, what came of the fit)."
    warmed = warm_start(work, learn.model) if work.frozen and work.cfg.warm_start else None
    outcome = fit(work, learn, run)
    if not candidates.finite(learn.model):
        say("the fine-tuned net holds weights that are no numbers: it is not kept")
        return [*filter(None, [warmed])], outcome
    bundle.save(run, learn.model)  # whatever ends the run now, its weights are there
    last = candidate("fine-tuned", learn.model, work)
    if warmed is None or outcome["status"] == "interrupted":
        return [*filter(None, [warmed]), last], outcome
    model = candidates.average(warmed.model, learn.model, learn.dls.train, work.machine)
    return [warmed, candidate("average", model, work), last], outcome


def candidate(name, model, work):
    return Candidate(name, work.cfg.head, model, held_out_logits(model, work))


def held_out_logits(model, work):
    "(held-out photos, classes)."
    paths = work.table.loc[work.held, "path"]
    if paths.empty:
        return np.zeros((0, len(work.card.classes)), np.float32)
    dl = loaders.plain(paths, work.card.view, work.cfg.bs, work.machine, work.pixels)
    z = inference.logits(model, dl, work.machine, what="scoring")
    for i, path in enumerate(paths):
        if np.isnan(z[i]).any() and work.pixels.problem(path):
            z[i] = np.log(work.card.prior)  # what predict.py says of a photo that it cannot read
    return z


def warm_start(work, model):
    "Fit the head of `model` in place on features of the training side; a copy as a Candidate."
    cfg, table, device = work.cfg, work.table, work.machine.device
    train = table[~work.held]
    views = [work.frozen.features(train, work.pixels, flip) for flip in (False, True)]
    weights = loaders.class_weights(table) if cfg.weighted else np.ones(len(table))
    warm.fit_head(model[1], views, work.labels[~work.held], weights[~work.held], cfg, device)
    held = work.frozen.features(table[work.held], work.pixels)
    z = inference.through(model[1], held, work.machine)
    return Candidate("warm start", cfg.head, deepcopy(model), z)


def fit(work, learn, run):
    "The fit that the config asks for; a dry run makes it short and says so in its status."
    cfg = work.cfg
    if not cfg.dry_run:
        return fit_in_memory(work, learn, cfg, run.path / runs.HISTORY)
    short = {"epochs": min(cfg.epochs, 2), "freeze_epochs": min(cfg.freeze_epochs, 1)}
    cfg = dataclasses.replace(cfg, **short)
    outcome = fit_in_memory(work, learn, cfg, run.path / runs.HISTORY)
    status = "dry run" if outcome["status"] == "finished" else outcome["status"]
    return {**outcome, "status": status}


def fit_in_memory(work, learn, cfg, path, steps=1):
    "Fit; where memory runs out, again with half the photos at a time and twice the batches a step."
    loss = learn.loss_func
    start = {key: value.cpu().clone() for key, value in learn.model.state_dict().items()}
    try:
        return learner.fit(learn, cfg, path, steps)
    except torch.OutOfMemoryError:
        half = learn.dls.bs // 2
        if half < 2:
            raise UserError(f"--bs {cfg.bs}: not two photos fit in memory; lower --size") from None
    say(
        f"out of memory with {2 * half} photos at a time: starting again with {half}, {2 * steps}"
        " batches a step"
    )
    learn.loss_func, learn.opt = loss, None  # mixing leaves its own loss behind where it is cut off
    learn._end_cleanup()  # fastai's own, left out where a fit breaks off: it lets go of the graph
    learn.loss_grad = None
    learn.model.load_state_dict(start)
    learn.model.zero_grad()
    learn.unfreeze()
    release(work.machine)
    learn.dls = batches(work, dataclasses.replace(cfg, bs=half))
    return fit_in_memory(work, learn, cfg, path, 2 * steps)
