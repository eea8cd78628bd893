"""Folders in, what lies in them out: photos, classes, and what commands wrote there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".jp2",
}  # fmt: skip
DEMO_MARK = "demo.json"  # what a drawn challenge holds
TRAIN, VALID, TEST = ("train", "training"), ("valid", "val", "validation"), ("test", "testing")
# what gives away a folder that a command wrote: a file in it, or a folder of such a name with such
# files: an audit, sheets of unknown photos, runs, a cache
OUR_FILES = ("issues.csv", "unknown.csv")
OUR_FOLDERS = {r"\d{4,}-.+": "config.json", r"\w+-[0-9a-f]{16}": "*.index.npy"}


def class_folders(folder, apart=()):
    "The folders below `folder` that are classes, sorted by name; their names are the labels."
    return [
        path
        for path in folders(folder)
        if path.name.lower() not in apart and not (path / DEMO_MARK).exists() and not ours(path)
    ]


def ours(folder):
    "Whether a command of ours wrote `folder`."
    if any((folder / name).is_file() for name in OUR_FILES):
        return True
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return any(
        re.fullmatch(pattern, name) and any((folder / name).glob(mark))
        for name in names
        for pattern, mark in OUR_FOLDERS.items()
    )


class Photos(NamedTuple):
    "Photos below a folder, sorted by path; how many other files; folders that were not entered."

    found: list[Path]
    others: int
    skipped: dict[Path, str]  # folder -> why


def photos(folder):
    "The `Photos` below `folder`; hidden files and folders do not count."
    files, skipped = [], {}

    def unreadable(error):
        skipped[Path(error.filename)] = error.strerror

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [here / name for name in folders if (here / name).is_symlink()]
        skipped |= dict.fromkeys(links, "a link to a folder")  # it may lead round in a circle
        files += [here / name for name in names if not is_hidden(name)]
    wanted = [path for path in files if path.suffix.lower() in SUFFIXES and not is_pipe(path)]
    return Photos(sorted(wanted), len(files) - len(wanted), skipped)


def is_pipe(path):
    "True for what exists but is no file: reading it could wait for ever. A dead link is broken."
    return path.exists() and not path.is_file()


def descend(folder):
    "Step into the only folder of a folder that holds nothing else, as unpacked archives do."
    inside = class_folders(folder)  # the drawn challenge may lie beside the user's own
    if len(inside) == 1 and not holds_photos(folder):
        inner = inside[0]
        if inner.name.lower() not in TRAIN and folders(inner) and not holds_photos(inner):
            return descend(inner)
    return folder


def holds_photos(folder):
    "Whether photos lie in the folder itself."
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def child(folder, names):
    "The child of `folder` called one of `names`, in any case; `train/train` is stepped through."
    for path in folders(folder):
        if path.name.lower() in names:
            return undouble(path)
    return None


def undouble(folder):
    inside = folders(folder)
    if len(inside) == 1 and inside[0].name.lower() == folder.name.lower():
        return folder if holds_photos(folder) else undouble(inside[0])
    return folder


def folders(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name))


def is_hidden(name):
    return name.startswith((".", "__"))
