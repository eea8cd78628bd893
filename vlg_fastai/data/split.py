"""Split photos into train and valid: near-duplicates stay together, every class is on both."""

import numpy as np
import pandas as pd
from fastai.data.transforms import RandomSplitter

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say, show
from vlg_fastai.data import twins
from vlg_fastai.data.decisions import DROPPED
from vlg_fastai.runs.files import write_csv

# the columns of split.csv; folder: the label that the class folder gives
PLACE = ["group", "split", "fold"]  # columns that a split adds; the last one with folds only
BOUND, GIVEN = "bound", "given_fold"  # columns that a table of labels may add
ALWAYS = -1  # the fold of photos that every fold trains on
MOST_SHOWN, SHOWN = 8, 5  # classes in a table of all, and of those with the fewest photos
TOLD = ["label", "content"]  # what must be unchanged for a run to resume
KEPT = ["file", "label", "folder", "content", "group", "split", "problem", "source"]


def assign(table, valid_pct, seed, x=None):
    """Add the columns `group` (int) and `split` (train, valid or unused) to the scan `table`.

    x: (readable photos, d) features of a frozen backbone, which find further copies.

    A photo and its near-duplicates always land on the same side, otherwise the validation score
    rewards memorising. A folder that brings its own valid side keeps it.
    """
    numbers = alike(table)
    good = grouped(table[table["problem"].isna()], numbers, x)
    if (good["side"] == "valid").any():
        good = _given(good)
    elif has_folds(good):
        say(f"the table has {good[GIVEN].nunique()} folds; holding out the first")
        good = _given(
            good.assign(side=np.where(good[GIVEN] == good[GIVEN].min(), "valid", "train"))
        )
    else:
        held_out = good["group"].isin(_held_out(good, _drawn(numbers, valid_pct, seed)))
        good = good.assign(split=np.where(held_out, "valid", "train"))
    return joined(table, good)


def has_folds(table):
    "Whether the photos of `table` came with folds."
    return GIVEN in table and (table[GIVEN] >= 0).all() and table[GIVEN].nunique() > 1


def joined(table, placed):
    "`table` with the columns of `placed` for the photos in use; all others are unused."
    found = table.join(placed[[name for name in PLACE if name in placed]])
    whole = {"group": -1, "split": "unused", "fold": ALWAYS}
    found = found.fillna({name: value for name, value in whole.items() if name in found})
    return found.astype({name: int for name in ("group", "fold") if name in found})


def as_before(table, before, cfg):
    """`table` with `group` and `split` of `before`, the split of the run that resumes.

    UserError if photos or labels changed since; with --resume-anyway the changed ones are left out:
    what was held out must never be trained on.
    """
    known, good = before.set_index("file"), table[table["problem"].isna()].set_index("file")
    was = known[known["split"] != "unused"]
    both = was.index.intersection(good.index)
    same = (was.loc[both, TOLD] == good.loc[both, TOLD]).all(axis=1).to_numpy()
    more = good.index.difference(was.index)
    new = more[good.loc[more, "content"].to_numpy() != known["content"].reindex(more).to_numpy()]
    odd = {"gone": was.index.difference(both), "changed": both[~same], "new": new}
    told = [f"{len(files)} {what}, e.g. {files[0]}" for what, files in odd.items() if len(files)]
    if told and not cfg.resume_anyway:
        raise UserError(
            f"--resume {cfg.resume}: photos or labels changed since the run ({'; '.join(told)});"
            " --resume-anyway continues without these"
        )
    if told:
        say(f"changed since the run, and left out: {'; '.join(told)}")
    places = was.loc[both[same]].reindex(table["file"]).set_axis(table.index)
    return joined(table, places.astype({name: float for name in places if name == "fold"}))


def alike(table):
    """Groups by hash of all photos, dropped ones included.

    The split samples these, so that runs with other backbones, or before and after decisions, hold
    out nearly the same photos and can be compared.
    """
    blank = bytes(twins.GREY**2)  # the grey copy of an unreadable photo, dropped or not
    dropped = (table["problem"] == DROPPED) & ~table["grey"].isin([b"", blank])
    readable = table[table["problem"].isna() | dropped]
    return pd.Series(twins.groups_of(readable), index=readable.index)


def grouped(good, alike, x):
    numbers = alike[good.index].to_numpy()
    group = numbers if x is None else twins.joined(numbers, good["content"], x)
    if BOUND in good:
        group = twins.bound(group, good[BOUND])
    return good.assign(alike=numbers, group=group)


def _given(table):
    "The split that the folder came with; reports near-duplicates across its sides."
    unknown = ~table["label"].isin(table.loc[table["side"] == "train", "label"])
    if unknown.any():
        names = ", ".join(sorted(table.loc[unknown, "label"].unique()))
        say(f"classes in valid but not in train are left out: {names}")
    table = table[~unknown].assign(split=table["side"])
    shared = set(table.loc[table["split"] == "train", "group"])
    across = table[(table["split"] == "valid") & table["group"].isin(shared)]
    if len(across):
        say(
            f"{len(across)} of {(table['split'] == 'valid').sum()} validation photos have a"
            f" near-duplicate in train, e.g. {across['file'].iloc[0]}: the score will be optimistic"
        )
    return table


def _drawn(alike, valid_pct, seed):
    "The numbers of the groups by hash, `alike`, that a random split holds out."
    numbers = alike.unique()
    _, drawn = RandomSplitter(valid_pct, seed=seed)(numbers)
    return set(numbers[list(drawn)])


def _held_out(table, drawn):
    "The groups to hold out: those whose first photo was sampled, then corrected class by class."
    first = table.groupby("group")["alike"].first()  # a majority would push pairs to one side
    held_out = set(first.index[first.isin(drawn)])
    classes = {label: by_size(rows["group"]) for label, rows in table.groupby("label")}
    for groups in classes.values():
        if held_out.issuperset(groups):  # nothing to train on: the largest goes back
            held_out.discard(groups[0])
    for groups in classes.values():
        spare = _spare(groups, held_out, classes)
        if len(groups) > 1 and held_out.isdisjoint(groups) and spare is not None:
            held_out.add(spare)
    return held_out


def by_size(numbers):
    "Group numbers, the largest group first, ties in order of appearance."
    return numbers.value_counts(sort=False).sort_values(ascending=False, kind="stable").index


def _spare(groups, held_out, classes):
    "The smallest group that can be held out and leaves each of its classes one to train on."
    for group in groups[::-1]:
        owners = [own for own in classes.values() if group in own]
        if all(len(set(own) - held_out) > 1 for own in owners):
            return group
    return None


def oversampled(table):
    "`table` with training rows of rare classes repeated up to the size of the largest class."
    train = table[table["split"] == "train"]
    most = train["label"].value_counts().max()
    extra = [_repeats(rows, most - len(rows)) for _, rows in train.groupby("label")]
    return pd.concat([table, *extra], ignore_index=True)


def _repeats(rows, missing):
    return rows.iloc[np.arange(missing) % len(rows)]


def say_split(table):
    "Report photos and groups per class, and which side of the split they are on."
    table = table[table["split"] != "unused"]
    repeated = len(table) - table["group"].nunique()
    say(
        f"near-duplicates: {repeated}; a photo and its near-duplicates stay on one side of the"
        " split"
    )
    rows = [
        (
            label,
            len(part),
            part["group"].nunique(),
            (part["split"] == "train").sum(),
            (part["split"] == "valid").sum(),
        )
        for label, part in table.groupby("label")
    ]
    fewest = sorted(rows, key=lambda row: row[1])[:SHOWN] if len(rows) > MOST_SHOWN else rows
    title = "photos by class" if fewest is rows else f"the {SHOWN} classes with the fewest photos"
    show(title, ["class", "photos", "groups", "train", "valid"], fewest)
    for label, photos, groups, _, valid in rows:
        if not valid:
            say(
                f"{label}: {counted(photos)} in {counted(groups, 'group')}: training only; its"
                " score stays blank"
            )


def of_run(run):
    "The split.csv of `run`; None without a run."
    return None if run is None else run.split


def save(table, path):
    "Write split.csv: every file of the scan, unusable ones with their problem."
    table = table.assign(folder=table.get("folder", table["label"]))
    write_csv(path, table[[*KEPT, *(["fold"] if "fold" in table else [])]])
