"""Cut a simulated test from a challenge's features: the pictures it trains on and is tested on.

Pictures are (features (n, d), labels (n,), near-duplicate groups (n,)) throughout.
"""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

STRENGTHS = (0.3, 1.0)  # of a style; each test has one


def cut(made, main, family, rng):
    "((features, labels, groups) to train on, (features, labels, groups) to test on)."
    kind, _, what = family.partition(":")
    one, other = what.split(">") if kind in ("hand", "medium") else (main, main)
    shown, asked = side(made, one, 0), side(made, other, 1)
    if kind == "taught":
        shown = (made[f"{family}|"], *shown[1:])
    if kind in ("style", "degraded"):
        key = f"{family}|{rng.choice(STRENGTHS)}" if kind == "style" else f"{family}|"
        changed = rng.random(len(asked[0])) < rng.choice([1.0, 0.5, 0.33])
        asked = (np.where(changed[:, None], made[key], asked[0]), *asked[1:])
    shown, asked, known = of_classes(shown, asked, rng)
    if kind == "clusters":
        shown, asked = by_clusters(shown, asked, known, rng)
    asked = of_shares(asked, rng)
    shown = fewer(shown, rng)
    asked = of_rows(asked, ~np.isin(asked[2], shown[2]))
    return shown, asked


def side(made, domain, half):
    rows = made[f"{domain}|h"] == half
    return tuple(made[f"{domain}|{key}"][rows] for key in "xyg")


def of_rows(photos, rows):
    return tuple(part[rows] for part in photos)


def of_classes(shown, asked, rng):
    "Some of the classes, up to 40 % of them only in the test; also the labels of the others."
    kinds, counts = np.unique(shown[1], return_counts=True)
    kinds = np.intersect1d(kinds[counts >= 5], asked[1])
    few = rng.integers(max(4, len(kinds) // 2), len(kinds) + 1) if len(kinds) > 5 else len(kinds)
    kinds = rng.permutation(kinds)[:few]
    held = min(round(rng.choice([0, 0, 0.1, 0.2, 0.3, 0.4]) * few), few - 3)
    known = kinds[held:]
    shown = of_rows(shown, np.isin(shown[1], known))
    return shown, of_rows(asked, np.isin(asked[1], kinds)), known


def by_clusters(shown, asked, known, rng):
    "Test on one of two clusters of each class; at most a few of its photos are trained on."
    x, y, g = (np.concatenate(pair) for pair in zip(shown, asked, strict=True))
    out, leak = ~np.isin(y, known), rng.choice([0.0, 0.1, 0.3])
    for kind in known:
        rows = np.flatnonzero(y == kind)
        if len(rows) >= 8:
            flat = PCA(min(8, len(rows) - 1), random_state=0).fit_transform(x[rows])
            found = KMeans(2, n_init=2, random_state=int(rng.integers(99))).fit_predict(flat)
            out[rows[(found == rng.integers(2)) & (rng.random(len(rows)) >= leak)]] = True
    rest = ~out & ~np.isin(g, g[out])
    return (x[rest], y[rest], g[rest]), (x[out], y[out], g[out])


def of_shares(asked, rng):
    "In a third of the tests, classes have other shares than in training."
    if rng.random() >= 0.35:
        return asked
    kinds, at = np.unique(asked[1], return_inverse=True)
    weights = rng.gamma(0.8, size=len(kinds))
    rows = rng.random(len(at)) < np.clip(1.5 * weights[at] / weights.max(), 0.05, 1)
    return of_rows(asked, rows) if rows.sum() >= 60 else asked


def fewer(shown, rng):
    "In some of the tests, fewer photos to train on, but at least five of each class."
    if rng.random() >= 0.4:
        return shown
    turn = pd.Series(shown[1]).groupby(shown[1]).cumcount().to_numpy()
    return of_rows(shown, (rng.random(len(turn)) < rng.uniform(0.4, 0.9)) | (turn < 5))
