"""Measure what extra photos are worth, by probes on frozen features of the training side.

Extra photos are learned from and never judged: every figure here is about labelled photos.
"""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.model_selection import StratifiedKFold

from vlg_fastai.console import say
from vlg_fastai.model import probe
from vlg_fastai.model.inference import fit_temperature
from vlg_fastai.model.intervals import clearly, error

FOLDS = 3  # parts of the extra photos of a class that has no others: each judged by the rest


@dataclass(frozen=True)
class Side:
    """The training side: features x (n, d), labels y (n,), near-duplicate groups (n,), number of
    all classes; logits (n, classes) of probes that learned from no extra photo and did not see the
    photo, their temperature, and their C."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    classes: int
    logits: np.ndarray
    temperature: float
    strength: float

    @classmethod
    def of(cls, x, y, groups, fold):
        "From the `OutOfFold` of these photos."
        warmth = fit_temperature(fold.logits, y)
        return cls(x, y, groups, fold.logits.shape[1], fold.logits, warmth, fold.strength)

    @property
    def fold(self):
        "The same as an `OutOfFold`."
        return probe.OutOfFold(self.logits, self.strength)

    @cached_property
    def own(self):
        "(classes,) labelled photos of each class."
        return np.bincount(self.y, minlength=self.classes)

    def among(self, rows):
        "With the labelled photos `rows` only."
        parts = {name: getattr(self, name)[rows] for name in ("x", "y", "groups", "logits")}
        return replace(self, **parts)

    def answers(self, asked, more):
        "Logits (m, classes) of features `asked` (m, d) by a probe of these photos and of `more`."
        factor = probe.scale(self.x)
        with probe.solver():
            fitted = probe.learned(self.x, self.y, self.strength, factor, more)
            return probe.logits_of(fitted, probe.scaled(asked, factor), self.classes)


def doubted(side, more):
    """(m,) True where the label of an extra photo is less likely than chance.

    Probes of the labelled photos judge those of their classes; those of the other classes are
    judged in parts, each by a probe that learned from the other parts.
    """
    foreign = side.own[more.y] == 0
    logits = side.answers(more.x, None)
    for rest, asked in _parts(more, np.flatnonzero(foreign)):
        logits[asked] = side.answers(more.x[asked], more.among(rest))
    likely = softmax(logits / side.temperature, axis=1)[np.arange(len(more)), more.y]
    found = likely < 1 / side.classes
    for label in np.unique(more.y[foreign]):  # a class keeps its photos if all of them are odd
        rows = more.y == label
        found[rows] &= not found[rows].all()
    return found


def _parts(more, rows):
    "[(rows to learn from, rows to judge)] of the extra photos `rows`."
    count = min(FOLDS, np.bincount(more.y[rows]).max()) if len(rows) else 0
    if count < 2:
        return []
    cut = StratifiedKFold(count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class may have fewer photos than there are parts
        return [(rows[a], rows[b]) for a, b in cut.split(rows, more.y[rows])]


def gain(side, before, after):
    """What probes `after` gain over `before` (`OutOfFold`s) on the labelled photos.

    {accuracy, nll: (before, after)}, gain in nats, its standard error, and whether it is clear.
    """
    losses = [_losses(one.logits, side.y) for one in (before, after)]
    saved = losses[0] - losses[1]
    return {
        "nll": [float(loss.mean()) for loss in losses],
        "accuracy": [float((z.argmax(1) == side.y).mean()) for z in (before.logits, after.logits)],
        "gain": float(saved.mean()),
        "error": float(error(saved, side.groups)),
        "clear": clearly(saved, side.groups),
    }


def say_gain(what, found, verdict=""):
    "Report a `gain` of `what`."
    (before, after), (low, high) = found["nll"], found["accuracy"]
    way = "better" if found["gain"] >= 0 else "worse"
    say(f"{what}: NLL {before:.4f} -> {after:.4f} ({abs(found['gain']):.4f} ± {found['error']:.4f}"
        f" {way}), accuracy {low:.4f} -> {high:.4f}{verdict}")  # fmt: skip


def _losses(z, y):
    "(n,) NLL of each photo, after a temperature."
    scaled = np.asarray(z, float) / fit_temperature(z, y)
    return -log_softmax(scaled, axis=1)[np.arange(len(y)), y]
