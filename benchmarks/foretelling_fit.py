"""Forecast simulated tests from those of other challenges and families, and write the shipped table
(see foretelling.py).

Every forecast judged here comes from a fit that saw neither the challenge nor the family of the
test; spreads and quantiles come from other challenges, whose own forecasts did learn from it. A
family is the style of a test or of its training photos, the kind of degradation or of cut, or
"other": tested on another hand's pictures.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.unseen import regression
from vlg_fastai.unseen.regression import (
    GIVEN,
    LEAST,
    TABLE,
    distances,
    grow_middle,
    grow_spread,
    simply_named,
)

TARGETS = ("plain", "adapted", "known", "known adapted", "unseen")
TAIL = 0.025  # on each side of an interval
SIDE = 0.05  # the same within one challenge; the largest quantile over challenges is taken
BEYOND = 0.99  # quantile of the distance to other tests beyond which a test is unlike them


def fit(work):
    tests = pd.concat(map(pd.read_csv, sorted(work.glob("tests-*.csv"))), ignore_index=True)
    tests["kind"] = tests["family"].str.split(":").str[0]
    styled = tests["kind"].isin(["style", "taught"])
    tests["family"] = tests["family"].str.split(":").str[-1].where(styled, tests["kind"])
    first, last = (tests.columns.get_loc(name) for name in ("family", "photos asked"))
    names = list(tests.columns[first + 1 : last])
    x, truth = tests[names].to_numpy(), tests[[f"true {target}" for target in TARGETS]].to_numpy()
    whole = Part.of(tests, x, truth, TARGETS)
    report(whole)
    adapting(tests, whole.apart)
    given = of_given(tests, x, truth)
    far = [distances(x[others(tests, i)], row, x.std(0)) for i, row in enumerate(x)]
    told = {
        "made by": "benchmarks/foretelling.py", "figures": names, "targets": TARGETS,
        "factors": whole.factors(), "factors given": given.factors(),
        "beyond": round(float(np.quantile(far, BEYOND)), 3),
        "challenges": list(tests["challenge"]), "with names": of_names(tests, x, whole.apart),
    }  # fmt: skip
    write(told, {"rows": x, "truth": truth, "foretold": whole.apart, "given": given.apart})


def of_given(tests, x, truth):
    "The `Part` that reads the share of unseen classes; reports accuracy on all photos."
    share = truth[:, TARGETS.index("unseen")]
    known = truth[:, [TARGETS.index(name) for name in GIVEN]]
    part = Part.of(tests, np.column_stack([x, share]), known, GIVEN)
    missed = np.abs(part.apart[:, 0] * (1 - share) - truth[:, 0])
    print(f"share given: plain missed by {missed.mean():.3f}")
    report(part)
    return part


def of_names(tests, x, apart):
    """(below, above): how far accuracy with names lies from `simply_named`; the largest quantile
    over challenges, as in `quantiles`.

    Its mean with a regression on figures of expert and test missed by more (0.106, not 0.103,
    both with shares from all tests).
    """
    rest = tests[tests["true named"].notna()].reset_index(drop=True)
    known, unseen = (
        apart[tests["true named"].notna(), TARGETS.index("known")],
        share_apart(tests, x),
    )
    middle = [
        simply_named(held_out, kept, share)
        for held_out, kept, share in zip(
            rest[["named known", "named unseen"]].to_numpy(), known / rest["known accuracy"],
            unseen, strict=True)
    ]  # fmt: skip
    apart, even = np.array(middle)[:, None], np.ones((len(rest), 1))
    part = Part(rest, rest[["true named"]].to_numpy(), ("with names",), apart, even)
    report(part)
    return part.factors()["with names"]


def share_apart(tests, x):
    "Shares of unseen classes of the tests with names, forecast from tests that contain some."
    with_unseen = (tests["true unseen"] > 0).to_numpy()
    some = tests[with_unseen].reset_index(drop=True)
    found = foretold_apart(some, x[with_unseen], some[["true unseen"]].to_numpy())[:, 0]
    return found[some["true named"].notna()]


@dataclass(frozen=True)
class Part:
    """Simulated tests with figures x (n, d) and true results (n, targets); `apart`: forecasts from
    tests of neither their challenge nor their family; `spread`: expected deviations of these."""

    tests: pd.DataFrame
    truth: np.ndarray
    targets: tuple
    apart: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, tests, x, truth, targets):
        apart = foretold_apart(tests, x, truth)
        return cls(tests, truth, targets, apart, spread_apart(tests, x, np.abs(truth - apart)))

    def only(self, rows):
        parts = (part[rows] for part in (self.tests, self.truth))
        return Part(*parts, self.targets, self.apart[rows], self.spread[rows])

    def factors(self):
        return {key: np.round(pair, 3).tolist() for key, pair in quantiles(self).items()}


def others(tests, i):
    "(n,) True for tests of neither the challenge nor the family of test `i`."
    one = tests.iloc[i]
    return (
        (tests["challenge"] != one["challenge"]) & (tests["family"] != one["family"])
    ).to_numpy()


def groups(tests):
    return (tests["challenge"] + " " + tests["family"]).to_numpy()


def foretold_apart(tests, x, truth):
    "(n, targets) forecasts by fits that saw neither the challenge nor the family."
    found = np.zeros(truth.shape)
    for group in np.unique(groups(tests)):
        rows = groups(tests) == group
        rest = others(tests, np.flatnonzero(rows)[0])
        found[rows] = grow_middle(x[rest], truth[rest])(x[rows])
    return found


def spread_apart(tests, x, missed):
    "(n, targets) expected deviations, by trees that did not see the challenge."
    found = np.zeros(missed.shape)
    for challenge in tests["challenge"].unique():
        rows = (tests["challenge"] == challenge).to_numpy()
        found[rows] = grow_spread(x[~rows], missed[~rows])(x[rows])
    return found


def quantiles(part):
    """{target: (below, above)} in deviations: the largest over challenges of the quantile that
    leaves `SIDE` out, with every family weighted equally.

    Tests of one challenge miss in the same direction, and a quantile of 97.5 % over challenges
    takes 39 of them: with fewer, only the maximum is available.
    """
    tests, found = part.tests, {}
    weight = 1 / tests.groupby(["challenge", "family"])["family"].transform("size").to_numpy()
    for i, target in enumerate(part.targets):
        scaled = (part.truth - part.apart)[:, i] / np.maximum(part.spread[:, i], LEAST)
        by_challenge = [
            [_quantile(side[rows], weight[rows]) for side in (-scaled, scaled)]
            for rows in (tests["challenge"].to_numpy() == c for c in tests["challenge"].unique())
        ]
        found[target] = np.max(by_challenge, axis=0)
    return found


def _quantile(values, weight):
    order = np.argsort(values)
    reached = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][np.searchsorted(reached, 1 - SIDE)])


def report(part):
    "Print how well left-out tests were forecast: coverage, width, interval score, error."
    tests, told = part.tests, []
    for challenge in tests["challenge"].unique():
        rows = (tests["challenge"] == challenge).to_numpy()
        factors, own = quantiles(part.only(~rows)), part.only(rows)
        for i, target in enumerate(part.targets):
            below, above = factors[target]
            truth, middle, wide = (side[:, i] for side in (own.truth, own.apart, own.spread))
            wide = np.maximum(wide, LEAST)
            ends = np.clip([middle - below * wide, middle + above * wide], 0, 1)
            told.append(judged(own.tests, target, truth, middle, ends))
    told = pd.concat(told)
    columns = ["covered", "width", "score", "constant", "missed"]
    for key in ("target", "challenge", "kind", "like validation"):
        rows = told if key == "target" else told[told["target"] == part.targets[0]]
        print(rows.groupby(key)[columns].mean().round(3).to_string(), "\n", flush=True)


def judged(tests, target, truth, middle, ends):
    low, high = ends
    everyday = np.quantile(truth, [TAIL, 1 - TAIL])
    return pd.DataFrame({
        "target": target, "challenge": tests["challenge"], "kind": tests["kind"],
        "like validation": (tests["true known"] - tests["known accuracy"]).abs() <= 0.05,
        "covered": (truth >= low - 1e-9) & (truth <= high + 1e-9), "width": high - low,
        "score": score(truth, low, high), "constant": score(truth, *everyday),
        "missed": np.abs(middle - truth),
    })  # fmt: skip


def score(truth, low, high):
    "The interval score (Gneiting & Raftery, 2007): width plus 40 times the miss outside it."
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return high - low + outside / TAIL


def adapting(tests, apart):
    "Print what adapting gains on known classes where a gain of at least `least` is forecast."
    from vlg_fastai.unseen.forecast import GAIN

    gain = tests["true known adapted"] - tests["true known"]
    foretold = apart[:, TARGETS.index("known adapted")] - apart[:, TARGETS.index("known")]
    large = tests["photos asked"] >= 300
    for least in (-1.0, 0.0, GAIN, 0.02, 0.03):
        done = gain * (foretold >= least)
        by_kind = done.groupby(tests["kind"]).mean().round(3).to_dict()
        print(
            f"least {least}: all {done.mean():.3f}, >= 300 photos {done[large].mean():.3f}", by_kind
        )


def rounded(values):
    return [[round(float(value), 3) for value in row] for row in values]


def write(told, columns):
    "Write the table: facts, and numbers (n, d) rounded to three decimals."
    told |= {name: rounded(values) for name, values in columns.items()}
    TABLE.write_text(json.dumps(told, separators=(",", ":")), encoding="utf-8")
    regression.shipped.cache_clear()
    regression.misses_with_names.cache_clear()
    kilobytes = TABLE.stat().st_size / 1e3
    print(f"{len(told['rows'])} simulated tests, {kilobytes:.0f} kB, {told['factors']}")
