"""Losses per photo for each value of --metric: the mean shows which model is better.

With a loss per photo, near-duplicates counted once, the certainty of a difference can be computed.
"""

import numpy as np

FIRST = 5  # predictions that map@5 considers


def nll(probs, y):
    "Negative log-likelihood of each photo's label, in nats; a probability of 0 counts as 1e-12."
    return -np.log(np.maximum(probs[np.arange(len(y)), y], 1e-12))


def wrong(probs, y):
    "1 where the likeliest class is not the label."
    return (probs.argmax(1) != y).astype(float)


def late(probs, y):
    "1 minus the precision at the rank of the label among the `FIRST` likeliest; 1 beyond them."
    own = probs[np.arange(len(y)), y][:, None]
    place = 1 + (probs > own).sum(1)
    return np.where(place <= FIRST, 1 - 1 / place, 1.0)


def unbalanced(probs, y):
    """Cost of each photo in macro-F1: n times the loss of all minus n - 1 times that of the others
    (jackknife pseudo-values, Tukey), shifted so that their mean is the loss itself."""
    guess, n, classes = probs.argmax(1), len(y), probs.shape[1]
    if n < 2:
        return wrong(probs, y)
    right = np.bincount(y[guess == y], minlength=classes)
    asked, told = np.bincount(y, minlength=classes), np.bincount(guess, minlength=classes)
    there = asked > 0
    f1 = 2 * right / np.maximum(asked + told, 1)
    without, rows, hit = np.repeat(f1[None], n, 0), np.arange(n), guess == y
    changes = (rows[hit], y, (1, 2)), (rows[~hit], y, (0, 1)), (rows[~hit], guess, (0, 1))
    for photos, kinds, less in changes:
        kind = kinds[photos]
        rest = np.maximum((asked + told)[kind] - less[1], 1)
        without[photos, kind] = 2 * (right[kind] - less[0]) / rest
    left = np.repeat(there[None], n, 0)
    left[rows, y] = asked[y] > 1
    others = (without * left).sum(1) / np.maximum(left.sum(1), 1)
    found = (n - 1) * others
    return 1 - f1[there].mean() + found - found.mean()


# values of --metric -> the loss; log_loss is what contests call the NLL of a submission
LOSSES = {"nll": nll, "log_loss": nll, "accuracy": wrong, "macro_f1": unbalanced, "map@5": late}
LOW = ("nll", "log_loss")  # lower is better


def figure(metric, probs, y):
    "The value of `metric`: a mean loss in nats, or a score from 0 to 1."
    mean = float(LOSSES[metric](probs, y).mean())
    return mean if metric in LOW else 1 - mean
