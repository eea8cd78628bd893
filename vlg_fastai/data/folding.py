"""Assign photos to folds: groups of near-duplicates stay whole, classes are spread evenly."""

import warnings
from functools import lru_cache

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.data import split


def in_folds(table, count, seed, x=None):
    """Add the columns `group`, `split` (train or unused) and `fold` (0 to `count` - 1) to `table`.

    Groups of near-duplicates stay whole, classes are spread evenly. If a class would be in one fold
    only, its largest group is trained on in every fold and held out in none (`split.ALWAYS`).
    """
    good = split.grouped(table[table["problem"].isna()], split.alike(table), x)
    if split.has_folds(good):
        return split.joined(table, _as_given(good, count))
    most = good.groupby("label")["group"].nunique().max()
    if count < 2 or good["group"].nunique() < 2 * count or most < count:
        raise UserError(
            f"--folds {count}: give 2 to 10, and no more than the largest class has distinct photos"
            f" ({most})"
        )
    cut, places = StratifiedGroupKFold(count, shuffle=True, random_state=seed), np.zeros(len(good))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class may have fewer photos than there are folds
        for number, (_, held) in enumerate(cut.split(good, good["label"], good["group"])):
            places[held] = number
    good = good.assign(split="train", fold=places.astype(int))
    good = taught_everywhere(good)
    if not set(range(count)) <= set(good["fold"]):
        raise UserError(f"--folds {count}: too few photos to fill every fold; try fewer")
    return split.joined(table, good)


def taught_everywhere(good):
    "`good` with fold `split.ALWAYS` for the largest group of each class that is in one fold only."
    for _, rows in good.groupby("label"):
        if rows["fold"].nunique() == 1:
            good.loc[good["group"] == split.by_size(rows["group"])[0], "fold"] = split.ALWAYS
    return good


def _as_given(good, count):
    "`good` in the folds that the table of labels gives."
    there = good[split.GIVEN].nunique()
    if there != count:
        raise UserError(f"--folds {count}: the table has {there} folds; give --folds {there}")
    numbers = good[split.GIVEN].rank(method="dense").astype(int) - 1
    good = taught_everywhere(good.assign(split="train", fold=numbers))
    asked = good[good["fold"] >= 0]
    across = asked[asked.groupby("group")["fold"].transform("nunique") > 1]
    if len(across):
        say(f"{counted(len(across))} with a near-duplicate or group member in another fold, e.g."
            f" {across['file'].iloc[0]}: the score will be optimistic")  # fmt: skip
    return good


def of_fold(table, number):
    "`table` of `in_folds` with the photos of one fold held out and all others for training."
    used = table["split"] != "unused"
    sides = np.where(table["fold"] == number, "valid", "train")
    return table.assign(split=np.where(used, sides, "unused")).drop(columns="fold")


def say_folds(table, count):
    "Report the sizes of the folds, and which classes have photos in none."
    used = table[table["split"] != "unused"]
    sizes = used.loc[used["fold"] != split.ALWAYS, "fold"].value_counts()
    say(
        f"{count} folds of {sizes.min()} to {sizes.max()} photos; a photo and its near-duplicates"
        " share a fold"
    )
    alone = used[used["fold"] == split.ALWAYS]
    if len(alone):
        names = ", ".join(sorted(alone["label"].unique()))
        say(f"trained on in every fold, since the class has too few photos to split: {names}")


def cut(y, groups, count, seed):
    "At most `count` [(training rows, held-out rows)] for labels and groups, both (n,) of integers."
    return list(_cut(*(np.asarray(one, np.int64).tobytes() for one in (y, groups)), count, seed))


@lru_cache(maxsize=16)  # a forecast asks three times for the same: 0.4 s each for 1,500 photos
def _cut(y, groups, count, seed):
    y, groups = (np.frombuffer(one, np.int64) for one in (y, groups))
    count = min(count, len(np.unique(groups)), np.bincount(y).max())
    if count < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer photos than folds is acceptable
        made = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        return list(made.split(y, y, groups))
