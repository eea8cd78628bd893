"""Fit a linear probe on features and labels, with out-of-fold logits: a model in seconds."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from vlg_fastai.console import track
from vlg_fastai.data import folding
from vlg_fastai.data.recall import digest
from vlg_fastai.machine.device import cpus
from vlg_fastai.model.head import linear
from vlg_fastai.model.inference import fit_temperature, nll
from vlg_fastai.model.intervals import interval

STRENGTHS = (0.003, 0.01, 0.03, 0.1)  # values of C tried for the logistic regression
FOLDS = 5
MOST = 40_000  # photos per fit, the same share of each class: memory stays flat beyond
NEVER = 100.0  # nats below the least bias
NORM = 30.0  # mean length that features are scaled to; the scale folds into the weights
TOLERANCE, ROUNDS = 1e-3, 400  # of the solver: 1e-2 is unsafe, 1e-4 takes twice as long


@dataclass(frozen=True)
class OutOfFold:
    "Logits (n, classes) of probes that saw neither the photo nor its near-duplicates; their C."

    logits: np.ndarray
    strength: float

    def figures(self, y, groups=None):
        "Strength, photos, accuracy with its 95% interval, NLL after a fitted temperature."
        right = self.logits.argmax(1) == y
        return {
            "strength": self.strength,
            "photos": len(y),
            "accuracy": float(right.mean()),
            "accuracy_interval": interval(right, groups),
            "nll": nll(self.logits, y, fit_temperature(self.logits, y)),
        }


def in_words(found):
    "The figures of an `OutOfFold` as one line."
    low, high = found["accuracy_interval"]
    return (
        f"probe: out-of-fold accuracy {found['accuracy']:.4f} ({low:.3f} to {high:.3f}) on"
        f" {found['photos']} photos, NLL {found['nll']:.4f}"
    )


def scale(x):
    "The factor that brings the mean length of the features `x` (n, d) to `NORM`."
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))  # fp16 ends at 65,504
    return NORM / max(float(lengths.mean()), 1e-9)


def out_of_fold(x, y, groups, classes, store, seed=0):
    """The `OutOfFold` of features `x` (n, d), labels `y` (n,) and near-duplicate `groups` (n,).

    The strength is the one with the lowest NLL after a fitted temperature, over grouped folds: the
    raw NLL prefers too little shrinkage. Cached in `store`: it takes longer than cached features.
    """
    return out_of_fold_beside(None, x, y, groups, classes, store, seed)


def out_of_fold_beside(more, *given):
    "The same of probes that learn from the photos `more` (`More`) too, which are never judged."
    x, y, groups, classes, store, seed = given
    key = digest(x.astype(np.float16), y, groups, np.array([classes, seed, FOLDS, *STRENGTHS]),
                  *(more.arrays if more else []))  # fmt: skip
    shelf = store.shelf("probe", key, TOLERANCE, ROUNDS, NORM, MOST)  # its own: one file to open
    if shelf.missing([key]):  # or damaged
        cut = [(*one, more and more.apart(groups[one[1]])) for one in folds(y, groups, seed)]
        logits, best = _searched(x, y, cut, classes)
        shelf.fill([(key, np.vstack([logits, np.full((1, classes), best, np.float32)]))])
    found = shelf[key]
    return OutOfFold(np.array(found[:-1]), STRENGTHS[int(found[-1, 0])])


def elsewhere(asked, rows, strength, shown, seed=0):
    """Logits (m, classes) for `asked` (m, d), features of other views of the photos `rows` (m,),
    from probes on the folds of `out_of_fold` that saw neither the photo nor its near-duplicates.

    shown: (features, labels, groups, classes, `More` or None) that the probes are fitted on.
    """
    x, y, groups, classes, more = shown
    made = np.zeros((len(rows), classes), np.float32)
    for train, held in folds(y, groups, seed):
        wanted = np.isin(rows, held)
        if wanted.any() and len(np.unique(y[train])) > 1:
            apart = more and more.apart(groups[held])
            with solver():
                fitted = learned(x[train], y[train], strength, scale(x), apart)
            made[wanted] = logits_of(fitted, scaled(asked[wanted], scale(x)), classes)
            made[wanted] += 0 if more is None or more.bias is None else more.bias
    return made


def learned(x, y, strength, factor, more=None):
    "The logistic regression of features `x` (n, d) times `factor`, labels `y` (n,), and of `more`."
    rows = drawn(y)
    x, y, weights = _beside(x[rows], y[rows], more)
    model = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ROUNDS)
    return model.fit(scaled(x, factor), y, weights)


def _beside(x, y, more):
    "(features, labels, weights or None) of photos and of `more`, if any; of these at most `MOST`."
    if not more:
        return x, y, None
    return more.among(drawn(more.y)).beside(x, y)


def folds(y, groups, seed):
    "[(training rows, held-out rows)], each group whole on one side, classes spread evenly."
    return folding.cut(y, groups, FOLDS, seed)


def drawn(y, seed=0, most=None):
    "Rows of labels `y` (n,) for a fit: all, or `most` (`MOST`), the same share of each class."
    most = most or MOST
    if len(y) <= most:
        return np.arange(len(y))
    order = np.random.default_rng(seed).permutation(len(y))
    counts = np.bincount(y)
    turn = pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy() / counts[y[order]]
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def scaled(x, factor):
    "Features `x` (n, d) times `factor`, as float32."
    return x.astype(np.float32) * np.float32(factor)


def _searched(x, y, cut, classes):
    logits = np.zeros((len(STRENGTHS), len(y), classes), np.float32)
    factor = scale(x)

    def search(fold):
        train, held, more = fold
        if len(np.unique(y[train])) < 2:
            return  # one class alone leaves no choice: the logits stay equal
        train = train[drawn(y[train])]
        shown = _beside(x[train], y[train], more)
        asked = scaled(x[held], factor)
        for i, fitted in enumerate(_path(scaled(shown[0], factor), *shown[1:])):
            logits[i, held] = logits_of(fitted, asked, classes)
            logits[i, held] += 0 if more is None or more.bias is None else more.bias

    with solver(), ThreadPoolExecutor(cpus()) as pool:
        list(track(pool.map(search, cut), "probe, fold", len(cut)))
    best = int(np.argmin([nll(z, y, fit_temperature(z, y)) for z in logits]))
    return logits[best], best


def _path(x, y, weights):
    "Yield fits of growing strength, each starting from the previous one, which halves the time."
    model = LogisticRegression(tol=TOLERANCE, max_iter=ROUNDS, warm_start=True)
    for strength in STRENGTHS:
        yield model.set_params(C=strength).fit(x, y, weights)


@contextmanager
def solver():
    """Run fits on one core each, without warnings about a fit that needs more iterations.

    Two cores on one small matrix wait for each other: 50 times as long if another program wants
    a core as well (4.8 s instead of 0.1 for 1,200 x 1,280).
    """
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def logits_of(fitted, x, classes):
    "Logits over all classes; a class the fit never saw is as unlikely as the least likely one."
    z = fitted.decision_function(x)
    z = np.stack([np.zeros_like(z), z], 1) if z.ndim == 1 else z
    full = np.repeat(z.min(1, keepdims=True), classes, axis=1)
    full[:, fitted.classes_] = z
    return full


def teller(x, y, strength, classes, factor, tolerance=TOLERANCE):
    "Fit on features `x` (n, d); return a function from features to logits (m, classes)."
    rows = drawn(y)
    model = LogisticRegression(C=strength, tol=tolerance, max_iter=ROUNDS)
    model.fit(scaled(x[rows], factor), y[rows])

    def tell(asked):
        parts = [asked[i : i + MOST] for i in range(0, max(len(asked), 1), MOST)]
        return np.concatenate([logits_of(model, scaled(part, factor), classes) for part in parts])

    return tell


def fit(x, y, strength, classes, more=None):
    """The linear head of a probe on features `x` (n, d) as they come from the backbone.

    Multinomial logistic regression (scikit-learn) with the scale folded into its weights.
    more: the `More` photos to learn from too.
    """
    factor = scale(x)
    with solver():
        fitted = learned(x, y, strength, factor, more)
    weight, bias = _rows(fitted, classes)
    head = linear(x.shape[1], classes)
    with torch.no_grad():
        head[0].weight.copy_(torch.as_tensor(weight * factor))
        head[0].bias.copy_(torch.as_tensor(bias))
        if more and more.bias is not None:
            head[0].bias += torch.as_tensor(more.bias)
    return head


def _rows(fitted, classes):
    """(weights (classes, d), biases (classes,)) of the `fitted` regression; a class that it never
    saw is never predicted."""
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # two classes: one row for the second
        weight, bias = np.vstack([0 * weight, weight]), np.array([0.0, bias[0]])
    every = np.zeros((classes, weight.shape[1])), np.full(classes, bias.min() - NEVER)
    for whole, part in zip(every, (weight, bias), strict=True):
        whole[fitted.classes_] = part
    return every
