"""Compare scores of several runs on the same photos, and tell real differences from noise.

Photos are resampled in whole groups of near-duplicates: two copies are not two witnesses.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vlg_fastai.model.intervals import grouped

RESAMPLES = 1_000
FLIPS = 2_000
INTERVAL = (0.025, 0.975)
SURE = 0.05  # adjusted p below which a difference counts as real


@dataclass(frozen=True)
class Paired:
    """Difference of each run from the reference in mean score, its 95 % interval by the paired
    bootstrap, and p adjusted for comparing them all; with one other run, McNemar's exact test."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray

    def verdict(self, i):
        if self.p[i] >= SURE:
            return "cannot tell"
        return "better" if self.difference[i] > 0 else "worse"


def against(scores, groups, reference, seed=0, chosen=False):
    """The `Paired` comparison of `scores` (runs, n), higher is better, with run number `reference`.

    chosen: whether the reference was picked as the best of these same scores, and so is also the
    luckiest: then all pairs count. Otherwise every other table of 40 equal runs would contain a
    "worse".
    """
    sums, sizes = grouped(scores - scores[reference], groups)
    weights = draws(len(sizes), seed)
    means = weights @ sums.T / (weights @ sizes)[:, None]
    low, high = np.quantile(means, INTERVAL, axis=0)
    return Paired(sums.sum(1) / sizes.sum(), low, high, adjusted(sums, reference, seed, chosen))


@lru_cache(maxsize=1)  # one comparison needs them twice
def draws(count, seed):
    "(RESAMPLES, count) how often each of `count` groups occurs in a bootstrap sample."
    rows = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    rows += np.arange(RESAMPLES)[:, None] * count
    return np.bincount(rows.ravel(), minlength=RESAMPLES * count).reshape(rows.shape).astype("f4")


def adjusted(sums, reference, seed, chosen):
    """(runs,) p under no difference, by flipping signs of the differences `sums` (runs, groups).

    A group is flipped for all runs at once, and the largest value over all runs counts (Westfall &
    Young, 1993): among many runs, some are far off by chance.
    """
    exact = sums.astype(float)  # lengths that nearly cancel lose every digit in single precision
    products = exact @ exact.T
    squares = np.diag(products)
    lengths = np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0))
    lengths[lengths < 1e-3] = np.inf  # runs with equal scores carry no information
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (FLIPS, sums.shape[1]), dtype=np.int8).astype(np.float32) * 2 - 1
    flipped, inverse = sums @ signs.T, (1 / lengths).astype(np.float32)
    rows = [(i, slice(i, None)) for i in range(len(sums))] if chosen else [(reference, slice(None))]
    largest = np.zeros(FLIPS, np.float32)
    for i, others in rows:
        apart = np.abs(flipped[others] - flipped[i]) * inverse[i, others][:, None]
        largest = np.maximum(largest, apart.max(0))
    own = np.abs(sums.sum(1)) / lengths[reference] - 1e-4  # equal sums differ in their last digits
    return (1 + (largest[:, None] >= own).sum(0)) / (1 + FLIPS)


def of_choosing(scores, groups, seed=0):
    """The score to expect of the run that is chosen as the best of `scores` (runs, n).

    Chosen on each bootstrap sample, scored on the photos outside it (BBC-CV, Tsamardinos et al.,
    2018). The best run's own score is too high: it is partly luck.
    """
    sums, sizes = grouped(scores, groups)
    weights = draws(len(sizes), seed)
    inside = weights @ sums.T / (weights @ sizes)[:, None]
    rest = (weights == 0).astype(np.float32)
    left = rest @ sizes
    outside = rest @ sums.T / np.maximum(left, 1)[:, None]
    found = outside[np.arange(len(outside)), inside.argmax(1)]
    return float(found[left > 0].mean()) if (left > 0).any() else float(scores.mean(1).max())
