"""Compute the figures that a forecast reads from labelled and test features, without test labels.

Agreements, differences and levels, no counts: real tests are larger than simulated ones.
Sources: difference of confidences (Guillory et al., 2021), average thresholded confidence (Garg et
al., 2022), disagreement (Jiang et al., 2022; Baek et al., 2022), distance of two sets (Deng &
Zheng, 2021), relative Mahalanobis likeness (Ren et al., 2021), dispersion of classes (Xie et al.,
2023), nuclear norm (Deng et al., 2023).
"""

from dataclasses import dataclass

import numpy as np

from vlg_fastai.data.neighbours import unit
from vlg_fastai.model import probe
from vlg_fastai.unseen import offset
from vlg_fastai.unseen.adapt import Model

UPPER = 0.6  # quantile of certainty that photos of other classes hardly move
NEAREST = 5  # neighbours whose predictions are compared
QUANTILES = (0.5, 0.75, 0.9)  # of likeness: of all photos, of the more alike ones
LEAST = 1e-3  # share of a residual that counts as an offset, at least
TAIL = 0.1  # share of known photos below the likeness that counts as unlike
MOST, DRAWS = 1_000, 4  # photos per side in which to look for neighbours, number of samples


def of(labelled, evidence, mixed, test, own):
    """{name: figure} of `test` features (m, d) against the `Labelled` photos.

    evidence, mixed: scores of both by folds, and the `Mixture` in them. own: the backbone's own
    logits of (labelled, test), or two arrays without columns where it has no classifier.
    """
    sound = labelled.sound
    train, held = probe.folds(labelled.y[sound], labelled.groups[sound], labelled.seed)[0]
    sides = Sides.of(labelled, sound[train], sound[held], test)
    found = {
        "known accuracy": evidence.right.mean(),
        "known certainty": evidence.known[:, 1].mean(),
        **_confidence(evidence),
        **_mixture(mixed),
        **_answers(sides),
        **_halves(labelled, sound[train], sides),
        **_sureness(sides),
        **_likeness(sides),
        **_structure(sides, labelled.seed),
        **offset.of(labelled.x[sound], test),
        **offset.of_own(own[0][sound], own[1]),
    }
    return {name: float(value) for name, value in found.items()}


@dataclass(frozen=True)
class Sides:
    """A `Model`, and features of known photos that it never saw and of the test photos: as they
    are, and moved by their shared offset."""

    model: Model
    known: np.ndarray
    test: np.ndarray
    moved: np.ndarray

    @classmethod
    def of(cls, labelled, train, held, test):
        model = Model.fit(labelled, train, held)
        x, test = labelled.x[held].astype(np.float32), test.astype(np.float32)
        return cls(model, x, test, model.moved(test))

    def called(self, x):
        "(n,) column of the class that the probe predicts."
        return self.model.plain(x).argmax(1)


def _confidence(evidence):
    known, test = evidence.known[:, 1], evidence.test[:, 1]
    line = np.quantile(known, 1 - evidence.right.mean())  # as many known photos are above as right
    surer = np.quantile(test, UPPER) - np.quantile(known, UPPER)
    return {
        "certainty": test.mean() - known.mean(),
        "certainty of the surer": surer,
        "above": (test >= line).mean(),
    }


def _mixture(mixed):
    return {
        "share": mixed.share,
        "share by likeness": mixed.shares["likeness"],
        "share by certainty": mixed.shares["certainty"],
        "mixture": mixed.accuracy,
        "mixture if known": mixed.if_known,
    }


def _answers(sides):
    "Whether predictions survive removing the shared offset, and how they are distributed."
    model, plain, moved = sides.model, sides.called(sides.test), sides.called(sides.moved)
    adapted = model.adapted(sides.moved).argmax(1)
    return {
        "moved agree": (plain == moved).mean(),
        "adapted agree": (plain == adapted).mean(),
        "moved adapted agree": (moved == adapted).mean(),
        "other shares": _other_shares(plain, model.shares),
        "other shares adapted": _other_shares(adapted, model.shares),
        "means agree": (plain == model.nearest(sides.test)).mean(),
        "means agree moved": (moved == model.nearest(sides.moved)).mean(),
        "means agree known": (sides.called(sides.known) == model.nearest(sides.known)).mean(),
    }


def _other_shares(called, shares):
    "Total variation between the classes' shares in the predictions and in training."
    found = np.bincount(called, minlength=len(shares)) / len(called)
    return np.abs(found - shares).sum() / 2


def _halves(labelled, train, sides):
    "Agreement of two probes that each see half of the features."
    order = np.random.default_rng(0).permutation(labelled.x.shape[1])
    halves = np.array_split(order, 2)
    with probe.solver():
        tells = [
            probe.teller(labelled.x[train][:, half], labelled.y[train], labelled.fold.strength,
                         labelled.classes, labelled.factor)
            for half in halves
        ]  # fmt: skip

    def agree(x):
        one, other = (tell(x[:, h]).argmax(1) for tell, h in zip(tells, halves, strict=True))
        return (one == other).mean()

    known = agree(sides.known)
    return {
        "halves agree": agree(sides.test) - known,
        "halves agree moved": agree(sides.moved) - known,
    }


def _sureness(sides):
    "Certainty on moved photos, without and with adapting."
    known = np.exp(sides.model.plain(sides.known)).max(1).mean()
    moved, adapted = sides.model.plain(sides.moved), sides.model.adapted(sides.moved)
    return {
        "certainty moved": np.exp(moved).max(1).mean() - known,
        "certainty adapted": np.exp(adapted).max(1).mean() - known,
    }


def _likeness(sides):
    """How many photos are less like any class than nearly all known ones, and how far off they lie.

    Photos of unseen classes leave the most alike ones unchanged; a style or domain shift makes
    these less alike as well, and moves all of them the same way.
    """
    like = sides.model.like
    known = like(unit(sides.known))
    line, spread = np.quantile(known, TAIL), max(known.std(), 1e-9)
    found = {}
    for name, x in (("unlike", sides.test), ("unlike moved", sides.moved)):
        values = like(unit(x))
        found[name] = (values < line).mean()
        for share in QUANTILES:
            behind = (np.quantile(values, share) - np.quantile(known, share)) / spread
            found[f"{name} by {share}"] = np.clip(behind, -10, 10)
    alike = like(unit(sides.test))
    found["alike moved by"] = _common(like.residuals(unit(sides.test[alike >= np.median(alike)])))
    return found


def _common(residuals):
    "Log of the share of the residuals (n, d) that all photos have in common, chance subtracted."
    whole = (residuals**2).sum(1).mean()
    part = (residuals.mean(0) ** 2).sum() / max(whole, 1e-9) - 1 / len(residuals)
    return np.log(max(part, LEAST))


def _structure(sides, seed):
    """Figures that need equally many photos per side, since they depend on density: the mean over
    `DRAWS` random samples."""
    count = min(MOST, len(sides.known), len(sides.test))
    found = {}
    for name, measure in STRUCTURE.items():
        known, plain, moved = (
            np.mean([measure(sides, some) for some in _draws(x, count, seed)])
            for x in (sides.known, sides.test, sides.moved)
        )
        found |= {name: plain - known, f"{name} moved": moved - known}
    return found


def _draws(x, count, seed):
    rng = np.random.default_rng(seed)
    return [
        x[np.sort(rng.permutation(len(x))[:count])] for _ in range(DRAWS if len(x) > count else 1)
    ]


def _neighbours(sides, x):
    "Share of each photo's neighbours with the same prediction as the photo."
    called, near = sides.called(x), unit(x)
    alike = near @ near.T
    np.fill_diagonal(alike, -1)
    few = np.argsort(-alike, axis=1)[:, :NEAREST]
    return (called[few] == called[:, None]).mean()


def _dispersion(sides, x):
    "Log ratio of the variance between predicted classes to that within them."
    called, flat = sides.called(x), unit(x)
    kinds, at = np.unique(called, return_inverse=True)
    middles = np.stack([flat[at == i].mean(0) for i in range(len(kinds))])
    between = ((middles - flat.mean(0)) ** 2).sum(1)[at].mean()
    return np.log((between + 1e-4) / (((flat - middles[at]) ** 2).sum(1).mean() + 1e-4))


def _norm(sides, x):
    "Nuclear norm of the probabilities: 1 where they are certain and classes equally frequent."
    probs = np.exp(sides.model.plain(x))
    return np.linalg.norm(probs, "nuc") / np.sqrt(len(probs) * min(probs.shape))


STRUCTURE = {"neighbours": _neighbours, "dispersion": _dispersion, "norm": _norm}
