"""Confidence intervals of accuracies from right and wrong predictions; copies count once."""

import numpy as np

NOISE = 1.0  # standard errors by which a costlier model has to be better


def interval(right, groups=None):
    """The 95% interval (low, high) of the accuracy of predictions `right` (n,); None if empty.

    groups: (n,) near-duplicate groups of the photos; if absent, each photo is its own group.
    """
    if not len(right):
        return None
    groups = np.arange(len(right)) if groups is None else groups
    return tuple(map(float, wilson(np.asarray(right, float)[None], groups)[0]))


def wilson(right, groups):
    """95% intervals (runs, 2) of accuracies, from `right` (runs, n) of 0 and 1 (Wilson, 1927).

    Uses the number of photos that would be equally noisy without near-duplicates (Dean & Pagano,
    2015).
    """
    share, n, z = right.mean(1), effective(right, groups), 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.stack([middle - half, middle + half], axis=1)


def effective(right, groups):
    "(runs,) number of independent photos that are as informative as the n of `right` (runs, n)."
    share = right.mean(1, keepdims=True)
    apart, sizes = grouped(right - share, groups)
    n = right.shape[1]
    simple, noise = n * (share * (1 - share))[:, 0], (apart.astype(float) ** 2).sum(1)
    # all right or all wrong: nothing varies, and each group counts once
    design = np.divide(noise, simple, out=np.full(len(right), n / len(sizes)), where=simple > 0)
    return n / np.maximum(design, 1)


def clearly(gain, groups):
    "Whether the mean of `gain` (n,) exceeds 0 by more than `NOISE`; near-duplicates count once."
    return bool(gain.mean() > NOISE * error(gain, groups))


def error(gain, groups):
    "Standard error of the mean of `gain` (n,); near-duplicates count once."
    _, at = np.unique(groups, return_inverse=True)
    return np.sqrt((np.bincount(at, gain - gain.mean()) ** 2).sum()) / len(gain)


def grouped(scores, groups):
    "(sums (runs, groups), sizes (groups,)) of `scores` (runs, n) over near-duplicate groups."
    _, at = np.unique(groups, return_inverse=True)
    sizes = np.bincount(at).astype(np.float32)
    sums = np.stack([np.bincount(at, row) for row in scores])
    return sums.astype(np.float32), sizes
