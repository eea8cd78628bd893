"""Models of one run in, the one to keep out: fine-tuning never makes a run worse in silence."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from vlg_fastai.config import UserError
from vlg_fastai.console import show
from vlg_fastai.model.inference import fit_temperature, nll
from vlg_fastai.model.precision import autocast

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
    probe = np.array([candidate.name == "probe" for candidate in candidates])
    useless = losses > guessing(candidates[0].logits.shape[1])
    if probe.any() and np.isfinite(losses[probe]).any():
        losses = np.where(useless & ~probe, np.inf, losses)
    return candidates[int(np.argmin(losses))], rows


def guessing(classes):
    "NLL of one who finds every one of so many classes equally likely."
    return float(np.log(classes))


def finite(model):
    "Whether all weights and statistics of `model` are numbers."
    tensors = (t for t in model.state_dict().values() if t.is_floating_point())
    return all(bool(torch.isfinite(t).all()) for t in tensors)


def report(rows, kept):
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
