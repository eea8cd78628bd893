"""Read photos from elsewhere, for the training side only: DIR/<class>/*, beside the labelled ones.

A table source.csv in such a folder says where its photos come from: `file`, `made_from`, the
labelled photo that one was made from, and `label`, its class, if its folder is called otherwise. A
photo that was made from a labelled one shares its side in every split.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import muted, say
from vlg_fastai.data import labels, listing, scan, twins
from vlg_fastai.data.walking import SOURCE, TEST, TRAIN, VALID, child, class_folders, photos

ELSEWHERE = "extra"  # in the column source of split.csv
OF_NONE = -1  # the group of a photo that was made from no labelled one
NEVER = -3  # the same of a photo that only models learn from which are not judged by it
GONE = -2  # the same, where source.csv names a photo that is not there


def found(folders, known, most=None):
    """Scan the photos of `folders`, a row each: columns of a scan, `root`, `made_from`, `about`.

    known: classes of the labelled photos; labels spelled almost like one of them are that class.
    most: limit on the photos of a class in a folder. UserError for a folder without class folders.
    """
    parts = [_of_folder(folder, known, most) for folder in folders]
    return pd.concat(parts, ignore_index=True)


def _of_folder(folder, known, most):
    root = child(folder, TRAIN) or folder
    rows = [
        (root, path.relative_to(root).as_posix(), place.name, ELSEWHERE, "train")
        for place in class_folders(root)
        for path in photos(place).found[:most]
    ]
    sides = {row[2].lower() for row in rows} & {*VALID, *TEST}
    if not rows or sides:
        what = f"holds the folder {sides.pop()!r}" if sides else "no photos in class folders"
        raise UserError(f"--extra {folder}: {what}; expected DIR/<class>/*.jpg")
    table = scan.of_table(listing.located(pd.DataFrame(rows, columns=listing.COLUMNS)))
    blank = {"made_from": "", "about": "", "own": ""}
    table = table.merge(_sources(root), how="left", on="file").fillna(blank)
    spelled, label = _spelled(known), table["label"].mask(table["own"] != "", table["own"])
    return table.assign(label=[spelled.get(key(one), one) for one in label]).drop(columns="own")


def key(label):
    "A label without case, `_`, `-` and `+`: as different people spell the same class."
    return "".join(letter for letter in label.lower() if letter not in " _-+")


def _spelled(known):
    keys = [key(label) for label in known]
    return {k: label for k, label in zip(keys, known, strict=True) if keys.count(k) == 1}


def _sources(root):
    "Columns file, own label, made_from, about of source.csv in `root`; no rows without a table."
    path = root / SOURCE
    if not path.is_file():
        return pd.DataFrame(columns=["file", "own", "made_from", "about"], dtype=str)
    told = labels.read(path, "--extra").fillna("")
    if "file" not in told:
        raise UserError(f"--extra {root}: {SOURCE} has no column `file`")
    about = told[[name for name in ("model", "licence") if name in told]].agg(", ".join, axis=1)
    return pd.DataFrame({
        "file": told["file"], "own": told.get("label", ""),
        "made_from": told.get("made_from", ""), "about": about,
    })  # fmt: skip


@dataclass(frozen=True)
class Freed:
    "Extra photos that are copies of nothing; how many were left out for each reason."

    table: pd.DataFrame
    left_out: dict[str, int]


def freed(table, labelled, test, x=None):
    """The `Freed` rows of `table`, with the column `kin`: the group of the labelled photo that each
    was made from, or `OF_NONE`.

    labelled: the labelled photos with their groups; test: folder of test photos, or None. A copy of
    a labelled photo would bring its label to the other side of a split, and one of a test photo
    would be learned by heart. x: features of (labelled, extra) photos, which find further copies.
    """
    groups = labelled.set_index("file")["group"]
    kin = table["made_from"].map(groups).fillna(GONE).astype(int)
    table = table.assign(kin=kin.mask(table["made_from"] == "", OF_NONE))
    reasons = {
        "unreadable": table["problem"].notna(),
        "made from a photo that is not there": table["kin"] == GONE,
        "copies of labelled photos": copies(table, labelled, x),
        "copies of test photos": copies(table, _test(test)),
        "repeated": _repeated(table),
    }
    left_out, kept = {}, np.ones(len(table), bool)
    for reason, rows in reasons.items():
        left_out[reason] = int((rows & kept).sum())
        kept &= ~rows.to_numpy()
    return Freed(table[kept].reset_index(drop=True), {k: n for k, n in left_out.items() if n})


def _test(folder):
    if folder is None:
        return None
    with muted():
        table = scan.scan_files(folder)
    return table[table["problem"].isna()]


def copies(table, others, x=None):
    "(n,) True where a readable photo of `table` is a near-duplicate of one of `others`."
    found = pd.Series(False, table.index)
    good = table[table["problem"].isna()]
    if others is None or good.empty:
        return found
    both = pd.concat([others, good], ignore_index=True)
    numbers = twins.groups_of(both, x)
    found[good.index] = np.isin(numbers[len(others) :], numbers[: len(others)])
    return found


def _repeated(table):
    return table["problem"].isna() & table.duplicated(["content"])


def say_found(table, made):
    "Report how many of the photos of `table` are left, of which classes, and why others are not."
    left = made.table["label"]
    told = "; ".join(f"{reason}: {count}" for reason, count in made.left_out.items())
    say(f"extra photos: {len(left)} of {len(table)} in {left.nunique()} classes"
        f"{f' (left out: {told})' if told else ''}")  # fmt: skip
