"""Figures of a test in, what tests of other photos with such figures scored out, and how surely.

`foretold.json` holds tests that were made of labelled photos (`benchmarks/foretelling.py`): their
figures, what came true, and what was foretold for each by trees that had seen neither its challenge
nor its family. Photos, models and pickled trees are not in it: the trees are grown when asked.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

TABLE = Path(__file__).with_name("foretold.json")
TREES = {"n_estimators": 300, "min_samples_leaf": 4, "max_features": 0.5, "random_state": 0}
NEAREST = 5  # made-up tests that tell whether a test is like any of them
LEAST = 0.01  # deviation that is never undercut


@dataclass(frozen=True)
class Foretold:
    "A figure that nobody can count, and the bounds that hold it in 95 of 100 cases."

    value: float
    low: float
    high: float

    def shifted(self, by):
        return Foretold(*np.clip([self.value + by, self.low + by, self.high + by], 0, 1).tolist())

    def times(self, factor):
        return Foretold(
            *np.clip(np.multiply([self.value, self.low, self.high], factor), 0, 1).tolist()
        )

    @property
    def interval(self):
        return self.low, self.high


class Regression:
    "Extremely randomised trees (Geurts et al., 2006) on the made-up tests of `table`."

    def __init__(self, table):
        self.names, self.targets, self.factors = (
            table["figures"],
            table["targets"],
            table["factors"],
        )
        self.x = np.array(table["rows"], float)
        truth, apart = np.array(table["truth"], float), np.array(table["foretold"], float)
        self.middle = ExtraTreesRegressor(**TREES).fit(self.x, truth)
        self.spread = ExtraTreesRegressor(**TREES).fit(self.x, np.abs(truth - apart))
        self.beyond, self.scale = table["beyond"], np.maximum(self.x.std(0), 1e-6)

    def __call__(self, figures):
        "({target: `Foretold`}, True where no made-up test is like this one); NaN counts as usual."
        row = np.array([[figures[name] for name in self.names]], float)
        row = np.where(np.isfinite(row), row, np.median(self.x, axis=0))
        middle, spread = self.middle.predict(row)[0], self.spread.predict(row)[0]
        odd = self.distance(row) > self.beyond
        found = {}
        for i, target in enumerate(self.targets):
            below, above = np.multiply(self.factors[target], max(spread[i], LEAST) * (1 + odd))
            bounds = middle[i], middle[i] - below, middle[i] + above
            found[target] = Foretold(*np.clip(bounds, 0, 1).tolist())
        return found, bool(odd)

    def distance(self, row):
        "How far the `NEAREST` made-up tests are, in deviations of a figure."
        apart = np.sqrt((((self.x - row) / self.scale) ** 2).mean(1))
        return float(np.sort(apart)[:NEAREST].mean())


@cache
def shipped():
    "The `Regression` of the table beside this file."
    return Regression(json.loads(TABLE.read_text(encoding="utf-8")))
