"""Forecast what a test scores, with intervals, from tests of other photos with similar figures.

`foretold.json` holds tests simulated from labelled photos (`benchmarks/foretelling.py`): their
figures, the true results, and the forecast for each by trees that had seen neither its challenge
nor its family. It holds no photo, no model and no pickled tree: the trees are grown when needed.
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
# on left-out tests, trees alone by 0.082; trees for the spread average over larger neighbourhoods
TREES = {"n_estimators": 200, "min_samples_leaf": 4, "max_features": 0.5, "random_state": 0}
VECTORS = {"C": 0.3, "epsilon": 0.03, "gamma": 0.01}
SPREAD = {"n_estimators": 200, "min_samples_leaf": 15, "max_features": 0.3, "random_state": 0}
NEAREST = 5  # simulated tests that decide whether a test resembles any of them
WHOLE = {"plain": "known", "adapted": "known adapted"}  # accuracy: on all photos, on known classes
GIVEN, SHARE = tuple(WHOLE.values()), "share"  # targets and figure where the share is known
ROWS = ("rows", "truth", "foretold", "given")  # what the table has for each simulated test
LEAST = 0.01  # smallest deviation


@dataclass(frozen=True)
class Foretold:
    "A forecast figure, and the bounds that hold the true one in 95 of 100 cases."

    value: float
    low: float
    high: float

    @classmethod
    def within(cls, value, low, high):
        "Clipped to lie between 0 and 1, as a share does."
        return cls(*np.clip([value, low, high], 0, 1).tolist())

    def times(self, factor):
        return Foretold.within(self.value * factor, self.low * factor, self.high * factor)

    def widened(self, by):
        return Foretold.within(self.value, self.low - by, self.high + by)

    def doubled(self):
        "With an interval of twice the width."
        return Foretold.within(self.value, 2 * self.low - self.value, 2 * self.high - self.value)

    @property
    def interval(self):
        return self.low, self.high


def grow_middle(x, truth):
    "A function from figures (m, d) to forecasts (m, targets), learned from simulated tests."
    trees = _trees(TREES, x, truth)
    vectors = make_pipeline(StandardScaler(), MultiOutputRegressor(SVR(**VECTORS))).fit(x, truth)
    return lambda asked: (trees(asked) + vectors.predict(asked)) / 2


def simply_named(held_out, kept, unseen):
    """Accuracy with names if unseen classes are named as held-out ones were.

    held_out: accuracy on (known, held-out) photos; kept: share of right predictions on known
    classes that a shift of the test leaves, assumed for both; unseen: share of unseen classes.
    """
    known, new = held_out
    return min(((1 - unseen) * known + unseen * new) * kept, 1.0)


def grow_spread(x, missed):
    "The same for its error, from `missed` (n, targets) by trees that had not seen these tests."
    return _trees(SPREAD, x, missed)


def _trees(options, x, y):
    made = ExtraTreesRegressor(**options).fit(x, y[:, 0] if y.shape[1] == 1 else y)
    return lambda asked: made.predict(asked).reshape(len(asked), -1)


def distances(x, row, scale):
    "Mean distance from `row` (d,) to the `NEAREST` tests in `x` (n, d), in deviations of a figure."
    apart = np.sqrt((((x - row) / np.maximum(scale, 1e-6)) ** 2).mean(1))
    return np.sort(apart)[:NEAREST].mean()


class Regression:
    "Forecasts for a test from the simulated tests of `table`, the content of `foretold.json`."

    def __init__(self, table):
        self.names, self.targets = table["figures"], table["targets"]
        self.factors, self.beyond = table["factors"], table["beyond"]
        self.x, truth = np.array(table["rows"]), np.array(table["truth"])
        self.middle = grow_middle(self.x, truth)
        self.spread = grow_spread(self.x, np.abs(truth - np.array(table["foretold"])))

    def __call__(self, figures):
        """({target: `Foretold`}, True where no simulated test resembles this one).

        A missing figure (NaN: a backbone without a classifier) is replaced by the median. A test
        unlike all others has intervals of twice the width.
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
def misses_with_names():
    "By how much accuracy with names may lie (below, above) what `simply_named` says, in 95 %."
    return json.loads(TABLE.read_text(encoding="utf-8"))["with names"]


@cache
def shipped(kind="any"):
    "The `Regression` of the table beside this file, or of one of its `PARTS`."
    return Regression(PARTS[kind](json.loads(TABLE.read_text(encoding="utf-8"))))


def with_unseen(table):
    "`table` without the tests that contain only known classes."
    at = table["targets"].index("unseen")
    kept = [truth[at] > 0 for truth in table["truth"]]
    return only(table, kept)


def only(table, kept):
    "`table` with the tests for which `kept` (n,) is true."
    return {**table, **{name: list(compress(table[name], kept)) for name in ROWS}}


def with_share(table):
    "`table` where the share of unseen classes is a figure that is read, not a target."
    at = table["targets"].index("unseen")
    told = [table["targets"].index(name) for name in GIVEN]
    rows = [[*row, truth[at]] for row, truth in zip(table["rows"], table["truth"], strict=True)]
    truth = [[row[i] for i in told] for row in table["truth"]]
    changed = {"figures": [*table["figures"], SHARE], "targets": GIVEN, "rows": rows}
    changed |= {"truth": truth, "foretold": table["given"], "factors": table["factors given"]}
    return table | changed


PARTS = {"any": lambda table: table, "unseen": with_unseen, "given": with_share}


def asked(figures, kind="any", share=None):
    """{name: array} of what the shipped table forecasts for a test; `told` reads it.

    share: of unseen classes, where it is known and need not be forecast.
    """
    if share is None:
        found, odd = shipped(kind)(figures)
    else:
        made = shipped("given")
        found, odd = made(figures | {SHARE: share})
        if not odd and share > made.x[:, -1].max():  # more than in any simulated test
            found, odd = {name: one.doubled() for name, one in found.items()}, True
        whole = {name: found[known].times(1 - share) for name, known in WHOLE.items()}
        found |= whole | {"unseen": Foretold(share, share, share)}
    return {name: (one.value, *one.interval) for name, one in found.items()} | {"odd": odd}


def told(arrays):
    "({target: `Foretold`}, odd) of what `asked` returned."
    found = {name: Foretold(*map(float, three)) for name, three in arrays.items() if name != "odd"}
    return found, bool(arrays["odd"])
