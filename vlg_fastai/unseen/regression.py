"""Figures of a test in, what tests of other photos with such figures scored out, and how surely.

`foretold.json` holds tests that were made of labelled photos (`benchmarks/foretelling.py`): their
figures, what came true, and what was foretold for each by trees that had seen neither its challenge
nor its family. No photo, no model and no pickled tree is in it: the trees are grown when asked.
"""

import json
from dataclasses import dataclass
from functools import cache
from itertools import compress
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

TABLE = Path(__file__).with_name("foretold.json")
# extremely randomised trees (Geurts et al., 2006) and support vectors: their mean was off by 0.079
# on left-out tests, trees alone by 0.082; those of the spread see larger neighbourhoods
TREES = {"n_estimators": 200, "min_samples_leaf": 4, "max_features": 0.5, "random_state": 0}
VECTORS = {"C": 0.3, "epsilon": 0.03, "gamma": 0.01}
SPREAD = {"n_estimators": 200, "min_samples_leaf": 15, "max_features": 0.3, "random_state": 0}
NEAREST = 5  # made-up tests that tell whether a test is like any of them
ROWS = ("rows", "truth", "foretold")  # what the table has for each made-up test
LEAST = 0.01  # deviation that is never undercut


@dataclass(frozen=True)
class Foretold:
    "A figure that nobody can count, and the bounds that hold it in 95 of 100 cases."

    value: float
    low: float
    high: float

    @classmethod
    def within(cls, value, low, high):
        "Of a share: between 0 and 1."
        return cls(*np.clip([value, low, high], 0, 1).tolist())

    def times(self, factor):
        return Foretold.within(self.value * factor, self.low * factor, self.high * factor)

    def widened(self, by):
        return Foretold.within(self.value, self.low - by, self.high + by)

    @property
    def interval(self):
        return self.low, self.high


def grow_middle(x, truth):
    "A function from figures (m, d) to what is foretold (m, targets), learned from made-up tests."
    trees = ExtraTreesRegressor(**TREES).fit(x, truth)
    vectors = make_pipeline(StandardScaler(), MultiOutputRegressor(SVR(**VECTORS))).fit(x, truth)
    return lambda asked: (trees.predict(asked) + vectors.predict(asked)) / 2


def grow_spread(x, missed):
    "The same for how far off that will be: `missed` (n, targets) by trees that had not seen them."
    return ExtraTreesRegressor(**SPREAD).fit(x, missed).predict


def distances(x, row, scale):
    "How far the `NEAREST` of the tests `x` (n, d) are from `row` (d,), in deviations of a figure."
    apart = np.sqrt((((x - row) / np.maximum(scale, 1e-6)) ** 2).mean(1))
    return np.sort(apart)[:NEAREST].mean()


class Regression:
    "What the made-up tests of `table`, the content of `foretold.json`, say of another."

    def __init__(self, table):
        self.names, self.targets = table["figures"], table["targets"]
        self.factors, self.beyond = table["factors"], table["beyond"]
        self.x, truth = np.array(table["rows"]), np.array(table["truth"])
        self.middle = grow_middle(self.x, truth)
        self.spread = grow_spread(self.x, np.abs(truth - np.array(table["foretold"])))

    def __call__(self, figures):
        """({target: `Foretold`}, True where no made-up test is like this one).

        A figure that is not at hand (NaN: a backbone without a classifier) is taken to be the
        median. A test unlike all others has intervals of twice the width.
        """
        row = np.array([figures[name] for name in self.names], float)
        row = np.where(np.isfinite(row), row, np.median(self.x, axis=0))
        odd = bool(distances(self.x, row, self.x.std(0)) > self.beyond)
        middle, spread = self.middle(row[None])[0], self.spread(row[None])[0]
        found = {}
        for target, value, wide in zip(self.targets, middle, spread, strict=True):
            below, above = np.multiply(self.factors[target], max(wide, LEAST) * (1 + odd))
            found[target] = Foretold.within(value, value - below, value + above)
        return found, odd


@cache
def shipped(unseen=False):
    "The `Regression` of the table beside this file; `unseen`: of tests with unseen classes alone."
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return Regression(with_unseen(table) if unseen else table)


def with_unseen(table):
    "`table` without the tests that show known classes alone."
    at = table["targets"].index("unseen")
    kept = [truth[at] > 0 for truth in table["truth"]]
    rows = {name: list(compress(table[name], kept)) for name in ROWS}
    return {**table, **rows}
