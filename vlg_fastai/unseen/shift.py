"""Measure how easily training and test photos can be told apart by their features."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from vlg_fastai.model import probe

STRENGTH = 0.003  # C of the classifier: small, since only two classes share so many features
MOST = 5_000  # photos per side: more do not change the figure


@dataclass(frozen=True)
class Shift:
    """auc: 0.5 where nothing tells test from training photos, 1 where everything does; certainty
    (m,): how surely each test photo is recognised as one, NaN where it was not evaluated."""

    auc: float
    certainty: np.ndarray

    def most(self, count):
        "Numbers of the test photos that are recognised most surely."
        order = np.argsort(-np.nan_to_num(self.certainty, nan=-1), kind="stable")
        return order[:count]


def measure(x, groups, test, kin, seed=0):
    """The `Shift` between training features `x` (n, d) and `test` (m, d).

    groups (n,), kin (m,): near-duplicates within each side.
    A linear classifier of the two sides, judged in folds that keep near-duplicates together. A test
    set with its own classes is told apart by those as well: the figure does not say why.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = (np.sort(rng.permutation(len(part))[:MOST]) for part in (x, test))
    both = np.concatenate([x[ours], test[theirs]])
    side = np.repeat([0, 1], [len(ours), len(theirs)])
    kin = np.concatenate([groups[ours], groups.max() + 1 + kin[theirs]])
    told = np.full(len(both), 0.5)
    factor = probe.scale(both)
    with probe.solver():
        for train, held in probe.folds(side, kin, seed):
            if len(np.unique(side[train])) < 2:
                continue  # all of one side are copies of each other
            z = probe.teller(both[train], side[train], STRENGTH, 2, factor)(both[held])
            told[held] = 1 / (1 + np.exp(z[:, 0] - z[:, 1]))
    certainty = np.full(len(test), np.nan)
    certainty[theirs] = told[len(ours) :]
    return Shift(float(roc_auc_score(side, told)), certainty)
