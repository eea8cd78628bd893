"""Table of photos in, folds out: whole groups of near-duplicates, classes spread evenly."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import split


def in_folds(table, count, seed, x=None):
    """Add the columns `group`, `split` (train or unused) and `fold` (0 to `count` - 1) to `table`.

    Whole groups of near-duplicates, classes spread evenly. A class that would lie in one fold alone
    has its largest group taught in every fold and asked about in none (`split.ALWAYS`).
    """
    good = split.grouped(table[table["problem"].isna()], split.alike(table), x)
    if split.has_folds(good):
        return split.joined(table, _as_given(good, count))
    most = good.groupby("label")["group"].nunique().max()
    if count < 2 or good["group"].nunique() < 2 * count or most < count:
        raise UserError(
            f"--folds {count}: give 2 to 10, and no more than the largest class has photos that are"
            f" no copies ({most})"
        )
    cut, places = StratifiedGroupKFold(count, shuffle=True, random_state=seed), np.zeros(len(good))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class of fewer photos than folds is no reason to stop
        for number, (_, held) in enumerate(cut.split(good, good["label"], good["group"])):
            places[held] = number
    good = good.assign(split="train", fold=places.astype(int))
    good = taught_everywhere(good)
    if not set(range(count)) <= set(good["fold"]):
        raise UserError(f"--folds {count}: too few classes have photos for each; try fewer")
    return split.joined(table, good)


def taught_everywhere(good):
    "`good` with the largest group of a class that lies in one fold alone in none (`split.ALWAYS`)."
    for _, rows in good.groupby("label"):
        if rows["fold"].nunique() == 1:
            good.loc[good["group"] == split.by_size(rows["group"])[0], "fold"] = split.ALWAYS
    return good


def _as_given(good, count):
    "`good` in the folds that the table of labels has."
    there = good[split.GIVEN].nunique()
    if there != count:
        raise UserError(f"--folds {count}: the table of labels has {there}; give --folds {there}")
    numbers = good[split.GIVEN].rank(method="dense").astype(int) - 1
    good = taught_everywhere(good.assign(split="train", fold=numbers))
    asked = good[good["fold"] >= 0]
    across = asked[asked.groupby("group")["fold"].transform("nunique") > 1]
    if len(across):
        say(f"{len(across)} photos have a near-duplicate, or what they share, in another fold, e.g."
            f" {across['file'].iloc[0]}: the score will flatter")  # fmt: skip
    return good


def of_fold(table, number):
    "`table` of `in_folds` with the photos of one fold held out and all others to learn from."
    used = table["split"] != "unused"
    sides = np.where(table["fold"] == number, "valid", "train")
    return table.assign(split=np.where(used, sides, "unused")).drop(columns="fold")


def say_folds(table, count):
    "Say how many photos there are to part, and which are in no fold."
    used = table[table["split"] != "unused"]
    sizes = used.loc[used["fold"] != split.ALWAYS, "fold"].value_counts()
    say(
        f"{count} folds of {sizes.min()} to {sizes.max()} photos; a photo and its near-duplicates"
        " stay in one"
    )
    alone = used[used["fold"] == split.ALWAYS]
    if len(alone):
        names = ", ".join(sorted(alone["label"].unique()))
        say(f"taught in every fold, since their class has too few photos to part: {names}")
