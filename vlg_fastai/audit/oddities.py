"""Find scanned photos that cannot be read or look odd, and nuisances that give labels away."""

import warnings

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from vlg_fastai.audit import issues
from vlg_fastai.console import say, track
from vlg_fastai.data.images import BrokenImageError
from vlg_fastai.data.twins import fingerprints
from vlg_fastai.model.probe import drawn

TINY = 48  # pixels of the short side
LONG = 4.0  # long side over short side
FLAT, DARK, BRIGHT = 6.0, 25.0, 235.0  # deviation and mean of the small grey copy, out of 255
BLURRED = 2.5  # robust deviations below the median of the log sharpness
SHARED = 0.5  # of all photos: what more than this share have in common is typical, not odd
GIVEN_AWAY = 0.25  # of the way from chance to certainty
MOST = 10_000  # photos to fit forests on
SHOWN = 12  # photos listed for each nuisance


def broken(table):
    "Files that cannot be read, with the reason as the suggestion."
    bad = table[table["problem"].notna()]
    rows = [{"file": row.name_, "label": row.label, "suggested": row.problem, "score": 1.0}
            for row in _named(bad)]  # fmt: skip
    return issues.table("broken", rows)


def odd(table, pixels):
    """Photos that are tiny, long, dark, bright, flat or blurred; the score is how many of these.

    pixels: the decoded photos by path, to measure sharpness.
    """
    facts = measured(table).assign(sharpness=_sharpness(table["path"], pixels))
    odd_by = _reasons(facts)
    for reason in odd_by.columns[odd_by.mean() > SHARED]:
        say(f"{odd_by[reason].mean():.0%} of all photos are {reason}: none is listed for that")
        odd_by = odd_by.drop(columns=reason)
    rows = []
    for row, measures, flags in zip(
        _named(table), facts.itertuples(), odd_by.to_numpy(), strict=True
    ):
        if flags.any():
            told = [_told(reason, measures) for reason in odd_by.columns[flags]]
            found = {"suggested": ", ".join(told), "score": len(told)}
            rows.append({"file": row.name_, "label": row.label, **found})
    return issues.table("odd", rows)


def _named(table):
    return table.rename(columns={"name": "name_"}).itertuples()


def measured(table):
    "Short side, aspect, mean and deviation of each photo."
    grey = fingerprints(table)[1].astype(float)
    sides = table[["width", "height"]].to_numpy(float)
    return pd.DataFrame(
        {
            "short": sides.min(1),
            "aspect": sides.max(1) / np.maximum(sides.min(1), 1),
            "mean": grey.mean(1),
            "deviation": grey.std(1),
        }
    )


def _sharpness(paths, pixels):
    "Log energy of each photo's Laplacian, as robust deviations from the median."
    energy = [_edges(path, pixels) for path in track(paths, "measuring sharpness", len(paths))]
    sharp = np.log(np.array(energy) + 1e-3)
    spread = np.nanmedian(np.abs(sharp - np.nanmedian(sharp))) * 1.4826
    return (sharp - np.nanmedian(sharp)) / max(spread, 1e-6)


def _edges(path, pixels):
    "Energy of a photo's Laplacian; NaN for a photo deleted since the scan."
    try:
        grey = np.asarray(pixels(path).convert("L"), np.float32)
    except BrokenImageError:
        return np.nan
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((4 * middle - around).var())


def _reasons(facts):
    "One boolean column for each way in which a photo can be odd."
    return pd.DataFrame(
        {
            "small": facts["short"] < TINY,
            "long": facts["aspect"] > LONG,
            "nearly one colour": facts["deviation"] < FLAT,
            "dark": facts["mean"] < DARK,
            "bright": facts["mean"] > BRIGHT,
            "blurred": facts["sharpness"] < -BLURRED,
        }
    )


def _told(reason, facts):
    "The reason, as a figure where it has one."
    figures = {"small": f"{facts.short:.0f} px", "long": f"{facts.aspect:.1f} to 1"}
    return figures.get(reason, reason)


def nuisance(table, groups):
    """Properties other than content that predict labels: brightness, contrast, size, aspect, type.

    A forest on each alone, judged on held-out groups of near-duplicates; listed where its balanced
    accuracy is `GIVEN_AWAY` of the way from chance to certainty, with photos that it got right.
    """
    rows = _usable(table["label"], groups)
    table, groups = table.iloc[rows].reset_index(drop=True), groups[rows]
    y = table["label"].astype("category").cat.codes.to_numpy()
    if len(np.unique(y)) < 2:
        return issues.table("nuisance", [])
    facts = measured(table)
    kinds = table["name"].str.rsplit(".", n=1).str[-1].str.lower().astype("category").cat.codes
    columns = {
        "brightness": facts[["mean", "deviation"]], "size": table[["width", "height"]],
        "aspect": facts[["aspect"]], "file type": pd.DataFrame({"type": kinds}),
    }  # fmt: skip
    found = []
    for name, values in columns.items():
        guess = _cross_validated(values.to_numpy(float), y, groups)
        rate = balanced_accuracy_score(y, guess, adjusted=True)
        if rate >= GIVEN_AWAY:
            told = f"{name} predicts the label {rate:.0%} of the way from chance to certainty"
            some = table[guess == y].drop_duplicates("label").head(SHOWN)
            found += [{"file": row.name_, "label": row.label, "suggested": told, "score": rate}
                      for row in _named(some)]  # fmt: skip
    return issues.table("nuisance", found)


def _usable(labels, groups):
    "Rows of classes with at least two groups of photos, at most `MOST` rows."
    kin = pd.Series(groups, index=labels.index).groupby(labels).transform("nunique")
    rows = np.flatnonzero(kin >= 2)
    codes = labels.iloc[rows].astype("category").cat.codes.to_numpy()
    return rows[drawn(codes, 0, MOST)] if len(rows) else rows


def _cross_validated(values, y, groups):
    forest = RandomForestClassifier(60, min_samples_leaf=3, class_weight="balanced", random_state=0)
    count = min(5, int(np.bincount(y).min()), len(np.unique(groups)))
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class may be on one side of a fold only
        return cross_val_predict(forest, values, y, groups=groups, cv=folds)
