"""List photos as rows (root, file, label, source), the same for every kind of source.

Class folders, tables of labels and plain folders produce the rows; later steps need nothing else.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from vlg_fastai.console import counted, say
from vlg_fastai.data import labels
from vlg_fastai.data.walking import SUFFIXES, class_folders, photos

# file is relative to root and never changes; side: train, valid or test
COLUMNS = ["root", "file", "label", "source", "side"]
CLASSES, TABLE, PLAIN = "class folders", "table", "folder"


def place(root, file):
    "Path of a photo."
    return Path(root) / file


def located(table, root=None):
    "`table` with the column path: below `root` if given, else below its own column root."
    roots = table["root"] if root is None else [root] * len(table)
    return table.assign(path=[place(*pair) for pair in zip(roots, table["file"], strict=True)])


def of_classes(layout, most=None, cfg=None):
    """List the labelled photos of `layout`; report what else is there.

    most: limit on the classes, and on the photos of each, first by name; cfg: options that name the
    columns of a table of labels.
    """
    if layout.labels is not None:
        return located(_few(_of_table(layout, cfg), most))
    rows = _of_folders(layout, layout.classes[:most], "train", most)
    _say_loose(layout.train)
    if layout.valid:
        held_out = _of_folders(layout, class_folders(layout.valid)[:most], "valid", most)
        if not held_out:
            say(f"{layout.valid}: no class folders with photos; using a random split instead")
        rows += held_out
    return located(pd.DataFrame(rows, columns=COLUMNS))


def _of_table(layout, cfg):
    "The rows of a table of labels, files relative to the data folder."
    home = layout.train
    files = [path.relative_to(home).as_posix() for path in _found(home)]
    found = labels.rows(replace(cfg, labels=layout.labels), files, home.name)
    at = home.resolve().relative_to(layout.root.resolve()).as_posix()
    found["file"] = [PurePosixPath(at, file).as_posix() for file in found["file"]]
    return found.assign(root=layout.root, source=TABLE)


def _few(table, most):
    if most is None:
        return table
    kept = sorted(table["label"].unique())[:most]
    table = table[table["label"].isin(kept)]
    return table.groupby("label", sort=False).head(most).reset_index(drop=True)


def of_folder(folder):
    "Every photo below `folder`, unlabelled."
    files = [path.relative_to(folder).as_posix() for path in _found(folder)]
    rows = [(folder, file, "", PLAIN, "test") for file in files]
    return located(pd.DataFrame(rows, columns=COLUMNS))


def of_paths(paths):
    "The pictures at `paths`, unlabelled."
    rows = [(Path(), str(path), "", PLAIN, "test") for path in paths]
    return located(pd.DataFrame(rows, columns=COLUMNS))


def of_run(run, root):
    "The photos that `run` was made from, as it stored them, located below `root`."
    return located(run.split, root)


def _of_folders(layout, folders, side, most):
    rows = []
    for folder in folders:
        found = _found(folder)[:most]
        if not found:
            say(f"{folder}: no photos; the class is left out")
        files = [path.relative_to(layout.root).as_posix() for path in found]
        rows += [(layout.root, file, folder.name, CLASSES, side) for file in files]
    return rows


def _found(folder):
    "The photos below `folder`; reports what else is there."
    found = photos(folder)
    if found.others:
        say(f"{folder}: left out {counted(found.others, 'file')} without an image suffix")
    for path, reason in sorted(found.skipped.items()):
        say(f"{path}: left out with everything in it: {reason}")
    return found.found


def _say_loose(folder):
    loose = sum(p.suffix.lower() in SUFFIXES and p.is_file() for p in folder.iterdir())
    if loose:
        say(f"{folder}: left out {counted(loose)} outside class folders")
