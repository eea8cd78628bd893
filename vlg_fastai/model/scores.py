"""Compute the figures of a run from probabilities and labels."""

import numpy as np
from sklearn.metrics import f1_score, recall_score

BINS = 15  # equal-width bins of the calibration error


def summary(before, after, y, classes):
    """Accuracy, macro-F1, NLL and ECE before and after calibration, and recall per class.

    before, after: (n, classes) probabilities; y: (n,) labels. All None if n is 0; a class
    without validation photos has a recall of None and does not count in macro-F1.
    """
    if not len(y):
        blank = dict.fromkeys(["accuracy", "macro_f1", "nll_before", "nll", "ece_before", "ece"])
        return {**blank, "recall": dict.fromkeys(classes)}
    guess, there = after.argmax(1), np.unique(y)
    return {
        "accuracy": float((guess == y).mean()),
        "macro_f1": float(f1_score(y, guess, labels=there, average="macro", zero_division=0)),
        "nll_before": nll_of(before, y),
        "nll": nll_of(after, y),
        "ece_before": ece(before, y),
        "ece": ece(after, y),
        "recall": _recall(y, guess, there, classes),
    }


def guessing(classes):
    "NLL of a uniform guess over `classes` classes."
    return float(np.log(classes))


def guesses(facts):
    "Whether the model of a run is worse than a uniform guess."
    return facts.nll is not None and facts.nll > guessing(len(facts.classes))


def nll_of(probs, y):
    "Mean negative log-likelihood of `y` in nats; a probability of 0 counts as 1e-12."
    return float(-np.log(np.maximum(probs[np.arange(len(y)), y], 1e-12)).mean())


def ece(probs, y):
    "Expected calibration error over `BINS` equal-width bins of confidence (Naeini et al., 2015)."
    confidence, right = probs.max(1), probs.argmax(1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(y))


def _recall(y, guess, there, classes):
    values = recall_score(y, guess, labels=there, average=None, zero_division=0)
    known = {classes[i]: float(value) for i, value in zip(there, values, strict=True)}
    return {name: known.get(name) for name in classes}
