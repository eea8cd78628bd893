"""Measure how far apart two sets of photos lie as wholes, from their features, without a model."""

import numpy as np
from scipy.special import log_softmax
from sklearn.decomposition import PCA

AXES = 40  # principal components in which an offset is measured
NARROW = 1e-3  # share of the first axis's variance below which an axis is dropped: copies make such
BLOCK = 1_000  # photos at a time


def of(x, test):
    "How far apart the means of both sides are, in deviations of the training photos."
    middle = x.mean(0, dtype=np.float32)
    axes = PCA(min(AXES, len(x) - 1, x.shape[1]), random_state=0)
    axes.fit(x.astype(np.float32) - middle)
    wide = axes.explained_variance_ > NARROW * axes.explained_variance_[0]
    spread = np.sqrt(axes.explained_variance_[wide])
    there = axes.transform(test.astype(np.float32) - middle)[:, wide] / spread
    lengths = [np.log(np.linalg.norm(side.astype(np.float32), axis=1).mean()) for side in (x, test)]
    return {
        "offset": np.log(np.linalg.norm(there.mean(0)) + 0.05),
        "spread": np.log(there.std(0).mean() + 0.05),
        "length": lengths[1] - lengths[0],
    }


def of_own(known, test):
    "How certain the backbone's own classifier is on both sides, which depends on picture style."
    if not known.shape[1]:
        return {"own certainty": np.nan, "own entropy": np.nan}
    (sure, mixed), (there, spread) = (_sure(side) for side in (known, test))
    return {"own certainty": there - sure, "own entropy": spread - mixed}


def _sure(logits):
    "(mean certainty, mean entropy) of `logits` (n, classes), which may have 20,000 classes."
    sure, spread = [], []
    for part in np.array_split(logits, max(1, len(logits) // BLOCK)):
        logs = log_softmax(part.astype(np.float32), axis=1)
        sure.append(np.exp(logs.max(1)))
        spread.append(-(np.exp(logs) * logs).sum(1))
    return np.concatenate(sure).mean(), np.concatenate(spread).mean()
