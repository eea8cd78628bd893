"""Correct the fused scores of all test photos by self-training on those photos."""

import numpy as np
from scipy.special import log_softmax, logsumexp

from vlg_fastai.model import probe

ROUNDS, PER_ROUND = 5, 8  # each round takes 8 more photos of every unseen class
WEIGHT = 0.5  # of the probe's own opinion
TOLERANCE = 1e-2  # of its fits, 25 per search; the last digits do not matter here
FLOOR = -30.0  # nats below which no class falls


def transduced(scores, known, shown, asked, fit):
    """Log scores (n, classes) after self-training on the test photos.

    scores: (n, classes) of the fusion, known classes first. shown: (features, labels 0..known-1) of
    training photos; asked: features of the test photos; fit: (strength, temperature, factor) of
    the probe. In round r the 8 r surest photos of each unseen class join the training photos of a
    new probe, whose opinion is averaged with the fusion's, in logs.
    """
    strength, temperature, factor = fit
    first = scores - logsumexp(scores, axis=1, keepdims=True)
    now, classes = first, scores.shape[1]
    for turn in range(1, ROUNDS + 1):
        rows, labels = picked(now, known, PER_ROUND * turn)
        if not len(rows):
            return first
        x = np.concatenate([shown[0], asked[rows]])
        y = np.concatenate([shown[1], labels])
        tell = probe.teller(x, y, strength, classes, factor, TOLERANCE)
        z = tell(asked) / temperature
        absent = np.setdiff1d(np.arange(classes), y)
        z[:, absent] = -np.inf
        opinion = np.maximum(log_softmax(z, axis=1), FLOOR)
        strange = absent[absent < known]  # classes that only extra photos show: no opinion
        opinion[:, strange] = first[:, strange]
        now = (1 - WEIGHT) * first + WEIGHT * opinion
        now = now - logsumexp(now, axis=1, keepdims=True)
    return now


def picked(scores, known, most):
    "(rows, labels): for each class from `known` on, the `most` surest of the photos that it wins."
    best = scores.argmax(1)
    rows = []
    for label in range(known, scores.shape[1]):
        won = np.flatnonzero(best == label)
        rows.append(won[np.argsort(-scores[won, label], kind="stable")[:most]])
    rows = np.concatenate(rows) if rows else np.zeros(0, int)
    return rows, best[rows]


def rates(trial, labelled, setting, expert, share, temperature):
    """(known, unseen) accuracy of self-training in one `Trial`.

    Its pool of test photos contains a `share` of unseen ones, like the real one.
    """
    from vlg_fastai.unseen import fusion

    fold, rng = trial.fold, np.random.default_rng(labelled.seed)
    old, new = (np.flatnonzero(fold.new[trial.rows] == is_new) for is_new in (False, True))
    wanted = max(1, round(len(old) * share / max(1 - share, 0.05)))
    pool = np.concatenate([old, np.sort(rng.permutation(new)[:wanted])])
    rows = fold.rows[trial.rows[pool]]
    q = expert.of_labelled(rows, trial.columns, setting.tau, fold.train)
    scored = fusion.scores(trial.probs[pool], q, setting.gamma)
    y = np.searchsorted(fold.known, labelled.y[fold.train])
    fit = labelled.fold.strength, temperature, labelled.factor
    shown = labelled.x[fold.train], y
    done = transduced(scored, len(fold.known), shown, labelled.x[rows], fit)
    right = trial.columns[done.argmax(1)] == labelled.y[rows]
    return right[: len(old)].mean(), right[len(old) :].mean()
