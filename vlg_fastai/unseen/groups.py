"""Group unnamed photos into look-alikes by their features."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

MOST, FEWEST = 15, 4  # groups; photos a group should have
SAMPLE = 4_000  # photos for a silhouette, which compares all with all
AXES = 32  # principal components to cluster: in all 1,280 everything is equally far apart


def alike(x, seed=0):
    """(group (n,), tightest first; distance (n,) to its mean) of features `x` of length one.

    k-means; the number of groups is the one with the best silhouette (Rousseeuw, 1987).
    """
    n = len(x)
    most = min(MOST, n // FEWEST, len(np.unique(x, axis=0)) - 1)
    if most < 2:
        return np.zeros(n, int), np.zeros(n)
    flat = PCA(min(AXES, n, x.shape[1]), random_state=seed).fit_transform(x)
    few = {"sample_size": min(n, SAMPLE), "random_state": seed}
    tried = [KMeans(k, n_init=4, random_state=seed).fit(flat) for k in range(2, most + 1)]
    best = max(tried, key=lambda made: silhouette_score(flat, made.labels_, **few))
    distance = best.transform(flat).min(1)
    spread = np.bincount(best.labels_, distance) / np.bincount(best.labels_)
    rank = np.argsort(np.argsort(spread, kind="stable"))
    return rank[best.labels_], distance
