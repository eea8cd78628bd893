"""Fuse probabilities of a classifier and an expert into those over known and unseen classes.

The classifier tells known classes apart better than any expert that was not trained on them; the
expert knows all names, and its own mass on the known ones is the gate between the two.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import softmax

from vlg_fastai.model.inference import probabilities

GAMMAS = np.arange(-2, 5.01, 0.5)  # bonuses for unseen classes to try, in nats
LEAST = 1e-12


@dataclass(frozen=True)
class Setting:
    """The expert's temperature tau and the bonus gamma, and what they scored on class folds.

    share: of unseen photos, for which they were chosen; accuracy: weighted to that share.
    """

    tau: float
    gamma: float
    share: float
    accuracy: float
    known: float
    unseen: float

    def in_words(self):
        return (
            f"tau {self.tau:g}, gamma {self.gamma:+.1f}, chosen on held-out classes: accuracy"
            f" {self.known:.3f} on known and {self.unseen:.3f} on unseen ones, for"
            f" {self.share:.0%} unseen photos"
        )

    def facts(self):
        return asdict(self)


def scores(known, q, gamma):
    """Log scores (n, known + unseen) of the product fusion.

    known: (n, known) probabilities of the classifier; q: (n, known + unseen) of the expert, which
    must not be normalised over the unseen ones alone: one of them would always seem certain. A
    known class gets log p + log q(any known), an unseen one log q + gamma; at gamma = -inf nothing
    changes.
    """
    count = known.shape[1]
    gate = np.log(q[:, :count].sum(1, keepdims=True) + LEAST)
    named = np.log(q[:, count:] + LEAST) + gamma
    return np.concatenate([np.log(known + LEAST) + gate, named], axis=1)


def fused(known, q, gamma):
    "Probabilities (n, known + unseen)."
    return softmax(scores(known, q, gamma), axis=1)


@dataclass(frozen=True)
class Trial:
    "A class fold with some of its held-out classes as unseen names, and names that no photo has."

    fold: object
    rows: np.ndarray  # places in the fold: its known photos, and those of the chosen classes
    columns: np.ndarray  # numbers of the names: known, chosen, absent
    probs: np.ndarray  # the classifier's, of those rows


def trials(evidence, y, known, unseen):
    """The `Trial`s for `unseen` names beside `known` classes, with that many names in each.

    Where a fold holds out more classes than there are names, they take turns; where it holds out
    fewer, the user's own names, which no training photo has, fill the rest.
    """
    made = []
    for fold in evidence.folds:
        turns = math.ceil(len(fold.held) / max(unseen, 1))
        for chosen in np.array_split(fold.held, turns):
            absent = known + np.arange(unseen - len(chosen))
            rows = np.flatnonzero(~fold.new | np.isin(y[fold.rows], chosen))
            columns = np.concatenate([fold.known, chosen, absent]).astype(int)
            probs = probabilities(fold.logits[rows], evidence.temperature)
            made.append(Trial(fold, rows, columns, probs))
    return made


def choose(tried, y, expert, share):
    "The `Setting` of best accuracy over the trials, weighted to the expected unseen `share`."
    found = []
    for tau in expert.taus:
        each = np.array([_rates(trial, y, expert, tau) for trial in tried])
        known, unseen = each.mean(0)
        accuracy = (1 - share) * known + share * unseen
        best = int(accuracy.argmax())
        values = (GAMMAS[best], share, accuracy[best], known[best], unseen[best])
        found.append(Setting(tau, *map(float, values)))
    return max(found, key=lambda setting: setting.accuracy)


def _rates(trial, y, expert, tau):
    "(accuracy on known photos, on unseen ones), each (gammas,)."
    rows, fold = trial.fold.rows[trial.rows], trial.fold
    q = expert.of_labelled(rows, trial.columns, tau, fold.train)
    plain = scores(trial.probs, q, 0.0)
    count = len(fold.known)
    old, new = plain[:, :count], plain[:, count:]
    truth = y[rows]
    right_old = trial.columns[old.argmax(1)] == truth
    right_new = trial.columns[count + new.argmax(1)] == truth
    lead = old.max(1) - new.max(1)  # what gamma has to overcome
    stays = lead[:, None] >= GAMMAS
    right = np.where(stays, right_old[:, None], right_new[:, None])
    is_new = fold.new[trial.rows]
    return right[~is_new].mean(0), right[is_new].mean(0)
