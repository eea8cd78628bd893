"""The swap test: what extra photos are worth for a class that has no others.

Known classes in turn are learned from their extra photos alone and judged on their labelled ones,
which is what happens to classes that only extra photos show when their test photos come.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import t

from vlg_fastai.console import track
from vlg_fastai.data.shares import weights
from vlg_fastai.model import probe
from vlg_fastai.model.doubts import pruned
from vlg_fastai.model.inference import probabilities
from vlg_fastai.train import worth

PARTS = 2, 5  # fewest and most parts of the known classes; those of a part are swapped together
FEWEST = 4  # known classes with extra photos, below which there is no swap test
SEED = 0
STEEPEST = 8.0  # largest change of a logit


@dataclass(frozen=True)
class Swapped:
    """Logits (n, classes) and labels of photos that a part of the classes `changed` was judged on;
    swapped (n,): True for photos of those classes, which only their extra photos showed."""

    z: np.ndarray
    y: np.ndarray
    changed: np.ndarray
    swapped: np.ndarray

    def shifted(self, bias):
        z = self.z.copy()
        z[:, self.changed] += bias
        return z

    def recalls(self, bias):
        "[(share of its photos that are predicted correctly, photos)] of each swapped class."
        right = self.shifted(bias).argmax(1) == self.y
        kinds = np.unique(self.y[self.swapped])
        return [(right[self.y == k].mean(), (self.y == k).sum()) for k in kinds]

    def loss(self, bias, temperature):
        "Mean NLL over the classes, each counting once."
        told = log_softmax(self.shifted(bias) / temperature, axis=1)[np.arange(len(self.y)), self.y]
        return -np.mean([told[self.y == k].mean() for k in np.unique(self.y)])


def swap(side, more, kept):
    """Figures of the swap test: accuracy of a class that only extra photos show, its 95 % interval
    for the mean of those classes, the bias of their logits, what it costs; None if there are too
    few classes to swap.

    more: all extra photos, before labelled ones judged them; kept (m,): those that are learned from
    where their class is not swapped.
    """
    new = np.flatnonzero((side.own == 0) & (np.bincount(more.y, minlength=side.classes) > 0))
    both = np.flatnonzero((side.own > 0) & (np.bincount(more.y, minlength=side.classes) > 0))
    photo_folds = probe.folds(side.y, side.groups, SEED)
    if not len(new) or len(both) < FEWEST or not photo_folds:
        return None
    count = int(np.clip(np.ceil(len(both) / len(new)), *PARTS))
    parts = np.array_split(np.random.default_rng(SEED).permutation(both), count)
    jobs = [(part, photo_folds[i % len(photo_folds)][1]) for i, part in enumerate(parts)]
    told = track(jobs, "swap test, part", len(jobs))
    found = [one for job in told if (one := _part(side, more, kept, new, *job)) is not None]
    return _figures(side, found, len(new)) if len(found) > 1 else None


def _part(side, more, kept, new, part, held):
    """The `Swapped` of the classes `part`, judged on the labelled photos `held` of the others too;
    None where a side has no photo that can judge."""
    swapped, probs = np.isin(side.y, part), probabilities(side.logits, side.temperature)
    judges = ~pruned(side.y, probs)  # a wrong label judges nothing
    out = swapped | np.isin(np.arange(len(side.y)), held)
    shown = more.among(np.isin(more.y, part) | kept).apart(side.groups[out])
    asked = np.flatnonzero(out & judges & (~swapped | np.isin(side.y, shown.y)))
    if len(np.unique(swapped[asked])) < 2:  # what it costs the others is judged as well
        return None
    beside = side.among(~out)  # knows nothing of the swapped classes, as of those to come
    if len(np.unique(beside.y)) < 2:
        return None
    shown = replace(shown, weight=weights(shown.y, beside.own))
    shown = shown.among(~worth.doubted(beside, shown))
    z = beside.answers(side.x[asked], shown)
    return Swapped(z, side.y[asked], np.union1d(part, new), swapped[asked])


def _figures(side, found, new):
    best = [_bias(found[:i] + found[i + 1 :], side.temperature) for i in range(len(found))]
    pairs = list(zip(found, best, strict=True))
    recalls, photos = zip(*(row for one, bias in pairs for row in one.recalls(bias)), strict=True)
    middle, half = predicted(np.array(recalls), np.array(photos), new)
    others = [[float((one.shifted(b).argmax(1) == one.y)[~one.swapped].mean()) for b in (0, bias)]
              for one, bias in pairs]  # fmt: skip
    return {
        "accuracy": middle,
        "accuracy_interval": [float(np.clip(middle + way * half, 0, 1)) for way in (-1, 1)],
        "classes": len(recalls),
        "bias": float(_bias(found, side.temperature)),
        "others": [float(np.mean(column)) for column in zip(*others, strict=True)],
    }


def predicted(recalls, photos, new):
    """(mean of `recalls` (k,), half the 95 % interval of the mean over `new` other classes).

    Each recall was measured on so many `photos` (k,): what that chance adds to their spread is no
    difference of classes, and does not come again in the mean of the others.
    """
    middle, count = recalls.mean(), photos.sum()
    rate = (middle * count + 1) / (count + 2)  # all right so far is not always right (Laplace)
    chance = (rate * (1 - rate) / photos).mean()
    spread = max(recalls.var(ddof=1), chance)
    apart = spread - chance
    error = np.sqrt(spread / len(recalls) + apart / new)
    return float(middle), float(t.ppf(0.975, len(recalls) - 1) * error)


def _bias(found, temperature):
    "What to add to the logits of classes that only extra photos show; each class counts once."

    def loss(bias):
        return np.mean([one.loss(bias, temperature) for one in found])

    return minimize_scalar(loss, bounds=(-STEEPEST, STEEPEST), method="bounded").x
