"""Estimate how many test photos look like no known class, from scores of photos by folds."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from vlg_fastai.unseen.evidence import SCORES

BINS = 16  # of equal numbers of reference photos
ROUNDS = 300  # of expectation-maximisation: the share moves by less than 1e-4 after 100


@dataclass(frozen=True)
class Mixture:
    """The share of test photos that look like no known class: the mean over scores, and by each
    score alone; `unlike` (m,): probability that each photo is one. `accuracy`: to expect if all of
    them are of unseen classes; `if_known`: if of known ones, photographed differently."""

    share: float
    shares: dict[str, float]
    unlike: np.ndarray
    accuracy: float
    if_known: float


@dataclass(frozen=True)
class Histograms:
    "Which of `BINS` bins each known, pseudo-unseen and test photo falls into, by one score."

    known: np.ndarray
    pseudo: np.ndarray
    test: np.ndarray  # (folds, photos): by each of the models that scored the known ones

    @classmethod
    def of(cls, evidence, score):
        i = SCORES.index(score)
        known, pseudo = evidence.known[:, i], evidence.pseudo[:, i]
        edges = np.quantile(np.concatenate([known, pseudo]), np.linspace(0, 1, BINS + 1)[1:-1])
        sides = known, pseudo, evidence.tests[:, :, i]
        return cls(*(np.searchsorted(edges, values) for values in sides))

    def unlike(self):
        """(share of unlike photos, probability (m,) that each test photo is one).

        Expectation-maximisation of the share of a mixture of two known histograms.
        """
        like, odd = _density(self.known), _density(self.pseudo)
        counts = np.bincount(self.test.ravel(), minlength=BINS)
        share = 0.3
        for _ in range(ROUNDS):
            of_bin = share * odd / (share * odd + (1 - share) * like)
            share = float((counts * of_bin).sum() / counts.sum())
        return share, of_bin[self.test].mean(0)


def _density(places):
    counts = np.bincount(places, minlength=BINS) + 1.0  # no bin is impossible
    return counts / counts.sum()


def mixture(evidence, accuracy):
    "The `Mixture` in `evidence`; `accuracy`: of the model on sound photos of known classes."
    found = {score: Histograms.of(evidence, score).unlike() for score in SCORES}
    share = float(np.mean([value for value, _ in found.values()]))
    unlike = np.mean([probs for _, probs in found.values()], axis=0)
    plain = float((1 - share) * accuracy)
    sure = float((unlike * evidence.test[:, 1]).mean())
    return Mixture(
        share, {s: value for s, (value, _) in found.items()}, unlike, plain, plain + sure
    )


def matched(unlike, share):
    "Probabilities `unlike` (m,), shifted by a constant in log odds so that their mean is `share`."
    odds, share = logit(np.clip(unlike, 1e-4, 1 - 1e-4)), np.clip(share, 1e-3, 1 - 1e-3)
    step = brentq(lambda by: expit(odds + by).mean() - share, -30, 30)
    return expit(odds + step)
