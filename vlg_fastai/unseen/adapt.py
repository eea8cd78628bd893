"""Adapt predictions to test photos with a style or domain shift by removing their shared offset.

No labels are needed. An offset that all photos of a test share cannot come from their classes, and
photos predicted alike show where the mean of their class lies now.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from vlg_fastai.data.neighbours import unit
from vlg_fastai.model import probe
from vlg_fastai.model.inference import fit_temperature
from vlg_fastai.unseen.likeness import Likeness

MOST = 10_000  # photos to fit on: memory stays flat beyond
WEIGHT = 10  # test photos that a class mean of training is worth


@dataclass(frozen=True)
class Model:
    """A probe and class means of the same photos, each with a temperature for its logits.

    kinds (k,): numbers of the classes that they know, in column order; middles (k, d) and shares
    (k,) of these classes' training photos.
    """

    tell: Callable
    like: Likeness
    kinds: np.ndarray
    middles: np.ndarray
    shares: np.ndarray
    temperatures: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def fit(cls, labelled, train, held=None):
        "Fit on the rows `train` of `labelled`; temperatures on the rows `held`, none among them."
        train = train[probe.drawn(labelled.y[train], labelled.seed, MOST)]
        x, y = labelled.x[train], labelled.y[train]
        with probe.solver():
            tell = probe.teller(x, y, labelled.fold.strength, labelled.classes, labelled.factor)
        made = cls(tell, Likeness.fit(unit(x), y), *_means(x, y))
        return made if held is None else made.calibrated(labelled.x[held], labelled.y[held])

    @classmethod
    def whole(cls, labelled):
        "Fit on all photos of `labelled`, with temperatures of a model that did not see them all."
        cuts = probe.folds(labelled.y, labelled.groups, labelled.seed)
        first = cls.fit(labelled, *cuts[0])
        return replace(
            cls.fit(labelled, np.arange(len(labelled.y))), temperatures=first.temperatures
        )

    def calibrated(self, x, y):
        "With temperatures at which it is as sure of photos `x` as it is accurate (labels `y`)."
        known = np.isin(y, self.kinds)
        if not known.any():  # all of them are of classes that it was not trained on
            return self
        places = np.searchsorted(self.kinds, y[known])
        sides = self.logits(x[known]), -self.like.distances(unit(x[known]))
        return replace(self, temperatures=tuple(fit_temperature(z, places) for z in sides))

    def logits(self, x):
        "Logits (n, k) of the probe."
        return self.tell(x)[:, self.kinds]

    def plain(self, x):
        "Log probabilities (n, k) of the probe."
        return log_softmax(self.logits(x) / self.temperatures[0], axis=1)

    def nearest(self, x):
        "(n,) column of the nearest class mean."
        return self.like.distances(unit(x)).argmin(1)

    def moved(self, test):
        """`test` (m, d) moved so that its mean is that of the training photos, every class weighted
        by its share in training.

        Shares estimated from the moved photos themselves are no better on simulated tests, and have
        been seen to collapse onto one class.
        """
        return _moved(test, self.middles, self.shares)

    def adapted(self, x):
        """Log probabilities (m, k) of `x` (m, d), features of a test after `moved`.

        The mean, in logs, of two opinions: the probe's, and that of the nearest class mean in the
        whitened space once the photos that the probe predicts have moved the means.
        """
        told = self.plain(x)
        near = self.like.renewed(unit(x), told.argmax(1), WEIGHT)
        return log_softmax(told + log_softmax(-near / self.temperatures[1], axis=1), axis=1)


def moved(labelled, test):
    "`test` (m, d) as `Model.whole(labelled)` would move it, without fitting one."
    rows = probe.drawn(labelled.y, labelled.seed, MOST)
    _, middles, shares = _means(labelled.x[rows], labelled.y[rows])
    return _moved(test, middles, shares)


def _means(x, y):
    "(classes (k,), means of their features (k, d), shares (k,)) of photos."
    kinds, counts = np.unique(y, return_counts=True)
    middles = np.stack([x[y == kind].mean(0, dtype=np.float32) for kind in kinds])
    return kinds, middles, (counts / len(y)).astype(np.float32)


def _moved(test, middles, shares):
    offset = test.mean(0, dtype=np.float32) - shares @ middles
    return test - offset.astype(np.float32)
