"""What a run could keep in, the one it keeps out: fine-tuning never makes it worse in silence."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.data import loaders
from vlg_fastai.machine.precision import autocast
from vlg_fastai.model import bundle, inference, probe, scores
from vlg_fastai.model.inference import fit_temperature, nll
from vlg_fastai.runs.facts import FINE_TUNED, PROBE
from vlg_fastai.runs.run import OOF
from vlg_fastai.train import warm
from vlg_fastai.train.evaluate import write_predictions

BATCHES = 32  # training batches that the statistics of an average's BatchNorm are taken from


@dataclass(frozen=True)
class Candidate:
    "A model, the head it is rebuilt with, and its logits (n, classes) of the held-out photos."

    name: str
    head: str
    model: torch.nn.Module
    logits: np.ndarray
    temperature: float | None = None  # where more than the held-out photos could tell it

    def figures(self, y):
        "Name, NLL after a fitted temperature, and accuracy on the held-out labels `y` (n,)."
        if not len(y):
            return {"model": self.name, "nll": None, "accuracy": None}
        # all by the same rule here, or the one that brings its temperature would be at a loss
        loss = nll(self.logits, y, fit_temperature(self.logits, y))
        right = float((self.logits.argmax(1) == y).mean())
        return {"model": self.name, "nll": loss, "accuracy": right}


def fit_probe(prepared, run):
    """(the probe as a Candidate, its figures out of fold), or (None, None) where none is wanted.

    It is judged by logits of probes that saw neither the photo nor its near-duplicates, which go to
    oof.csv; what is kept was fitted on all photos, held-out ones included.
    """
    cfg, extractor = prepared.cfg, prepared.extractor
    if extractor is None or not (cfg.probe or not cfg.epochs):
        return None, None
    y, groups, classes = prepared.labels, prepared.groups, len(prepared.spec.classes)
    x = extractor.features(prepared.table, prepared.pixels)
    fold = probe.out_of_fold(x, y, groups, classes, prepared.store, cfg.seed)
    head = probe.fit(x, y, fold.strength, classes).to(prepared.machine.device)
    temperature = inference.fit_temperature(fold.logits, y)
    write_predictions(run.path / OOF, prepared, fold.logits, temperature)
    figures = fold.figures(y, groups)
    say(probe.in_words(figures))
    model = nn.Sequential(extractor.backbone, head)
    return Candidate(PROBE, "linear", model, fold.logits[prepared.held], temperature), figures


def warm_start(prepared, learn):
    """Fit the head of `learn` in place on features of the training side; a copy as a Candidate.

    None where there are no trained features, no epochs, or the options say so.
    """
    cfg, extractor = prepared.cfg, prepared.extractor
    if learn is None or extractor is None or not cfg.warm_start:
        return None
    table, held, device = prepared.table, prepared.held, prepared.machine.device
    views = [extractor.features(table[~held], prepared.pixels, flip) for flip in (False, True)]
    weights = loaders.class_weights(table) if cfg.weighted else np.ones(len(table))
    head = learn.model[1]
    warm.fit_head(head, views, prepared.labels[~held], weights[~held], cfg, device)
    z = inference.through(head, extractor.features(table[held], prepared.pixels), prepared.machine)
    return Candidate("warm start", cfg.head, deepcopy(learn.model), z)


def of_fit(prepared, learn, fit, warmed, run):
    "[average with the warm start, fine-tuned net], as far as there are any, once `fit` is done."
    if learn is None:
        return []
    if not bundle.finite(learn.model):
        say("the fine-tuned net holds weights that are no numbers: it is not kept")
        return []
    bundle.save(run, learn.model)  # whatever ends the run now, its weights are there
    last = _candidate(FINE_TUNED, learn.model, prepared)
    if warmed is None or fit.status == "interrupted":
        return [last]
    model = average(warmed.model, learn.model, learn.dls.train, prepared.machine)
    return [_candidate("average", model, prepared), last]


def _candidate(name, model, prepared):
    return Candidate(name, prepared.cfg.head, model, held_out_logits(model, prepared))


def held_out_logits(model, prepared):
    "(held-out photos, classes)."
    paths = prepared.table.loc[prepared.held, "path"]
    if paths.empty:
        return np.zeros((0, len(prepared.spec.classes)), np.float32)
    view, bs, machine = prepared.spec.view, prepared.cfg.bs, prepared.machine
    dl = loaders.plain(paths, view, bs, machine, prepared.pixels)
    z = inference.logits(model, dl, machine, what="scoring")
    for i, path in enumerate(paths):
        if np.isnan(z[i]).any() and prepared.pixels.problem(path):
            z[i] = np.log(prepared.spec.prior)  # what predict.py says of what it cannot read
    return z


def best(candidates, y):
    """(the candidate of least NLL, or the last where nothing is held out; rows of all figures).

    Nothing that is worse than guessing is kept over the probe. UserError where none is finite.
    """
    rows = [candidate.figures(y) for candidate in candidates]
    if not len(y):
        return candidates[-1], rows
    losses = np.array([row["nll"] if np.isfinite(row["nll"]) else np.inf for row in rows])
    if not np.isfinite(losses).any():
        raise UserError("--lr: no model of this run gives finite answers; try a tenth of it")
    probes = np.array([candidate.name == PROBE for candidate in candidates])
    useless = losses > scores.guessing(candidates[0].logits.shape[1])
    if np.isfinite(losses[probes]).any():
        losses = np.where(useless & ~probes, np.inf, losses)
    return candidates[int(np.argmin(losses))], rows


def say_choice(rows, kept):
    "Say how the candidates did on the held-out photos, where there was a choice."
    if len(rows) > 1 and rows[0]["nll"] is not None:
        title = f"on the held-out photos; kept: {kept}"
        cells = [(r["model"], f"{r['nll']:.4f}", f"{r['accuracy']:.4f}") for r in rows]
        show(title, ["model", "NLL", "accuracy"], cells)


def average(one, other, batches, machine):
    """A model whose weights lie half-way between those of two of the same make (WiSE-FT, Wortsman
    et al., 2022), with the statistics of its BatchNorm taken anew from training `batches`."""
    model, states = deepcopy(one), (one.state_dict(), other.state_dict())
    mean = {
        key: torch.lerp(value, states[1][key], 0.5) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    model.load_state_dict(mean)
    estimate_batch_norm(model, batches, machine)
    return model.eval()


def estimate_batch_norm(model, batches, machine):
    "Plain means over `batches` of the statistics of every BatchNorm of `model`; else untouched."
    layers = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch for: every batch counts the same
    model.train()
    with torch.no_grad(), autocast(machine):
        for _, (x, *_) in zip(range(BATCHES), batches, strict=False):
            x = x.as_subclass(torch.Tensor)
            model(x.contiguous(memory_format=machine.memory_format))
    for layer, momentum in layers.items():
        layer.momentum = momentum
