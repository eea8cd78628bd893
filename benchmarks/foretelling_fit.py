"""Forecast simulated tests from those of other challenges and families, and write the shipped table
(see foretelling.py).

Every forecast judged here comes from a fit that saw neither the challenge nor the family of the
test; spreads and quantiles come from other challenges, whose own forecasts did learn from it. A
family is the style of a test or of its training photos, the kind of degradation or of cut, or
"other": tested on another hand's pictures.
"""

import json

import numpy as np
import pandas as pd

from vlg_fastai.unseen import regression
from vlg_fastai.unseen.regression import LEAST, TABLE, distances, grow_middle, grow_spread

TARGETS = ("plain", "adapted", "known", "known adapted", "unseen")
TAIL = 0.025  # on each side of an interval
SIDE = 0.05  # the same within one challenge; the largest quantile over challenges is taken
BEYOND = 0.99  # quantile of the distance to other tests beyond which a test is unlike them


def fit(work):
    tests = pd.concat(map(pd.read_csv, sorted(work.glob("tests-*.csv"))), ignore_index=True)
    tests["kind"] = tests["family"].str.split(":").str[0]
    styled = tests["kind"].isin(["style", "taught"])
    tests["family"] = tests["family"].str.split(":").str[-1].where(styled, tests["kind"])
    truth = tests[[f"true {target}" for target in TARGETS]].to_numpy()
    kept = tests.columns[2 : tests.columns.get_loc("photos asked")]  # after challenge and family
    names = list(kept)
    x = tests[names].to_numpy()
    apart = foretold_apart(tests, x, truth)
    spread = spread_apart(tests, x, np.abs(truth - apart))
    report(tests, truth, apart, spread)
    factors = quantiles(truth, apart, spread, tests)
    far = [distances(x[others(tests, i)], row, x.std(0)) for i, row in enumerate(x)]
    told = {
        "made by": "benchmarks/foretelling.py", "figures": names, "targets": TARGETS,
        "factors": {key: np.round(pair, 3).tolist() for key, pair in factors.items()},
        "beyond": round(float(np.quantile(far, BEYOND)), 3),
        "challenges": list(tests["challenge"]),
    }  # fmt: skip
    write(told, {"rows": x, "truth": truth, "foretold": apart})


def others(tests, i):
    "(n,) True for tests of neither the challenge nor the family of test `i`."
    one = tests.iloc[i]
    return (
        (tests["challenge"] != one["challenge"]) & (tests["family"] != one["family"])
    ).to_numpy()


def groups(tests):
    return (tests["challenge"] + " " + tests["family"]).to_numpy()


def foretold_apart(tests, x, truth):
    "(n, targets) forecasts by trees that saw neither the challenge nor the family."
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


def quantiles(truth, apart, spread, tests):
    """{target: (below, above)} in deviations: the largest over challenges of the quantile that
    leaves `SIDE` out, with every family weighted equally.

    Tests of one challenge miss in the same direction, and a quantile of 97.5 % over challenges
    takes 39 of them: with fewer, only the maximum is available.
    """
    weight = 1 / tests.groupby(["challenge", "family"])["family"].transform("size").to_numpy()
    found = {}
    for i, target in enumerate(TARGETS):
        scaled = (truth - apart)[:, i] / np.maximum(spread[:, i], LEAST)
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


def report(tests, truth, apart, spread):
    "Print how well left-out tests were forecast: coverage, width, interval score, error."
    told = []
    for challenge in tests["challenge"].unique():
        rows = (tests["challenge"] == challenge).to_numpy()
        factors = quantiles(truth[~rows], apart[~rows], spread[~rows], tests[~rows])
        for i, target in enumerate(TARGETS):
            below, above = factors[target]
            wide = np.maximum(spread[rows, i], LEAST)
            low = np.clip(apart[rows, i] - below * wide, 0, 1)
            high = np.clip(apart[rows, i] + above * wide, 0, 1)
            told.append(judged(tests[rows], target, truth[rows, i], apart[rows, i], low, high))
    told = pd.concat(told)
    columns = ["covered", "width", "score", "constant", "missed"]
    for key in ("target", "challenge", "kind", "like validation"):
        rows = told if key == "target" else told[told["target"] == "plain"]
        print(rows.groupby(key)[columns].mean().round(3).to_string(), "\n")
    adapting(tests, apart)


def judged(tests, target, truth, middle, low, high):
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


def write(told, columns):
    "Write the table: facts, and numbers (n, d) rounded to three decimals."
    for name, values in columns.items():
        told[name] = [[round(float(value), 3) for value in row] for row in values]
    TABLE.write_text(json.dumps(told, separators=(",", ":")), encoding="utf-8")
    regression.shipped.cache_clear()
    kilobytes = TABLE.stat().st_size / 1e3
    print(f"{len(told['rows'])} simulated tests, {kilobytes:.0f} kB, {told['factors']}")
