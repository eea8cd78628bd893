"""Scan an image folder into a table, a row per file: label, content hash, size, problem."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say, show, track
from vlg_fastai.data import listing
from vlg_fastai.data.images import (
    BrokenImageError,
    content_hash,
    content_of,
    opened,
    problem,
    quiet_decoders,
    read_image,
)
from vlg_fastai.data.twins import GREY, fingerprint
from vlg_fastai.machine.device import cpus

LOOK = 64  # pixels of the short side a fingerprint needs; large JPEGs are decoded no larger
FORMULA = r"[=+\-@\t\r]"  # start of a cell that a spreadsheet would evaluate
NAMED = 10  # broken files named on the screen; the run folder lists them all


def scan_classes(layout, most=None, cfg=None):
    """Read every labelled file of `layout`, on all cores; `most` and `cfg` as in the listing.

    Columns: those of the listing, path, content, width, height, dhash (uint64), grey (bytes),
    problem (None where the photo is readable).
    """
    return of_table(listing.of_classes(layout, most, cfg))


def scan_files(folder):
    "The same table for every picture below `folder`, unlabelled; `file` is relative to `folder`."
    return of_table(listing.of_folder(folder))


def scan_named(paths):
    "The same table for the pictures at `paths`; `file` is the path as it was given."
    return of_table(listing.of_paths(paths))


def _say_formulas(table):
    odd = table[table.astype(str).apply(lambda cells: cells.str.match(FORMULA)).any(axis=1)]
    if len(odd):
        say(
            f"{len(odd)} names begin like a formula, e.g. {odd['file'].iloc[0]}: a spreadsheet may"
            " evaluate them in the CSVs of this run"
        )


def of_table(table):
    "The same for a listing of photos."
    _say_formulas(table[["file", "label"]])
    with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:  # decoding releases the GIL
        seen = list(track(pool.map(_look, table["path"]), "reading photos", len(table)))
    columns = ["content", "width", "height", "dhash", "grey", "problem"]
    facts = pd.DataFrame(seen, columns=columns, index=table.index)
    return pd.concat([table, facts.astype({"dhash": np.uint64, "problem": object})], axis=1)


def _look(path):
    "Content hash, width, height, dHash, grey copy and problem of one file."
    try:
        content = content_of(path)
    except BrokenImageError as error:
        return "", 0, 0, 0, b"", str(error)
    try:
        image = read_image(content, LOOK)
        dhash, grey = fingerprint(image)
        width, height = opened(content).size
    except BrokenImageError as error:
        return content_hash(content), 0, 0, 0, bytes(GREY * GREY), str(error)
    return content_hash(content), width, height, dhash, grey.tobytes(), None


def check(table):
    "UserError if fewer than two classes have a readable photo."
    labels = table.loc[table["problem"].isna() & (table["side"] == "train"), "label"].unique()
    if len(labels) < 2:
        what = f"only the class {labels[0]!r} has" if len(labels) else "no class has"
        raise UserError(f"--data: {what} a readable photo; two classes are needed")


def without(table, lost):
    "`table` with the rows of `lost`, removed or changed since the scan, marked as unreadable."
    if lost.empty:
        return table
    pairs = zip(lost["path"], lost["content"], strict=True)
    reasons = [problem(*pair) or "gives no finite features" for pair in pairs]
    table = table.copy()
    table.loc[lost.index, "problem"] = reasons
    say(f"{counted(len(lost))} left out after the scan, e.g. {lost['file'].iloc[0]}: {reasons[0]}")
    check(table)
    return table


def say_counts(table):
    "Report the number and sizes of photos, how uneven the classes are, and broken files."
    good = table[table["problem"].isna()]
    counts = good["label"].value_counts()
    say(
        f"{counted(len(good))} in {len(counts)} classes, {counts.min()} to {counts.max()} per class"
        f" ({counts.max() / counts.min():.1f} to 1); {_sizes(good)}"
    )
    for label in sorted(set(table["label"]) - set(counts.index)):
        say(f"{label}: none of its photos can be read; the class is left out")
    say_broken(table)


def _sizes(good):
    short = good[["width", "height"]].min(axis=1)
    return f"short side {short.min()} to {short.max()} px, median {short.median():.0f}"


def say_broken(table):
    "Name the files that cannot be read, and why."
    broken = table[table["problem"].notna()]
    if len(broken):
        title = f"{len(broken)} of {len(table)} files cannot be read"
        show(title, ["file", "reason"], broken[["file", "problem"]].head(NAMED).to_numpy())
    if len(broken) > NAMED:
        say(f"and {len(broken) - NAMED} more")
