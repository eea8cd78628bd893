"""List what folders hold: photos, classes, and what commands wrote there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".jp2",
}  # fmt: skip
DEMO_MARK = "demo.json"  # marks a generated challenge
TRAIN, VALID, TEST = ("train", "training"), ("valid", "val", "validation"), ("test", "testing")
# marks of a folder that a command wrote: a file in it, or a subfolder with such a name and such
# files: an audit, sheets of unknown photos, runs, a cache
OUR_FILES = ISSUES, UNKNOWN = "issues.csv", "unknown.csv"
SHELF = r"\w+-[0-9a-f]{16}"  # of a cache: kind and digest
OUR_FOLDERS = {r"\d{4,}-.+": "config.json", SHELF: "*.index.npy"}
EXPORT = ("preprocess.json", "labels.txt")  # files of an export
SOURCE = "source.csv"  # table of a folder of photos from elsewhere, class by class
GENERATED = {"made_from", "prompt", "seed", "model"}  # its columns where generate.py wrote it


def class_folders(folder, apart=()):
    "The folders below `folder` that are classes, sorted by name; their names are the labels."
    return [
        path
        for path in folders(folder)
        if path.name.lower() not in apart and not (path / DEMO_MARK).exists() and not ours(path)
    ]


def ours(folder):
    "Whether one of our commands wrote `folder`."
    if any((folder / name).is_file() for name in OUR_FILES) or is_export(folder):
        return True
    with os.scandir(folder) as entries:  # folders without a look at each photo
        inside = [Path(entry) for entry in entries if entry.is_dir() and not is_hidden(entry.name)]
    if (
        inside
        and not holds_photos(folder)
        and (is_generated(folder) or all(map(is_export, inside)))
    ):
        return True
    return any(
        re.fullmatch(pattern, path.name) and any(path.glob(mark))
        for path in inside
        for pattern, mark in OUR_FOLDERS.items()
    )


def is_export(folder):
    return all((folder / name).is_file() for name in EXPORT)


def is_generated(folder):
    "Whether generate.py wrote the table of `folder`; people give such tables to photos as well."
    try:
        with (folder / SOURCE).open(encoding="utf-8", errors="replace") as table:
            return set(table.readline().strip().split(",")) >= GENERATED
    except OSError:  # there is none
        return False


class Photos(NamedTuple):
    "Photos below a folder, sorted by path; number of other files; folders that were not entered."

    found: list[Path]
    others: int
    skipped: dict[Path, str]  # folder -> why


def photos(folder):
    "The `Photos` below `folder`; hidden files and folders are ignored."
    files, skipped = [], {}

    def unreadable(error):
        skipped[Path(error.filename)] = error.strerror

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [here / name for name in folders if (here / name).is_symlink()]
        skipped |= dict.fromkeys(links, "a link to a folder")  # it may form a loop
        files += [here / name for name in names if not is_hidden(name)]
    wanted = [path for path in files if path.suffix.lower() in SUFFIXES and not is_pipe(path)]
    return Photos(sorted(wanted), len(files) - len(wanted), skipped)


def is_pipe(path):
    "True if `path` exists but is not a file: reading it could block forever. Not for dead links."
    return path.exists() and not path.is_file()


def descend(folder):
    "Step into the only folder of a folder that holds nothing else, as in unpacked archives."
    inside = class_folders(folder)  # the generated challenge may be beside the user's own data
    if len(inside) == 1 and not holds_photos(folder):
        inner = inside[0]
        if inner.name.lower() not in TRAIN and folders(inner) and not holds_photos(inner):
            return descend(inner)
    return folder


def holds_photos(folder):
    "Whether there are photos in the folder itself."
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def child(folder, names):
    "The child of `folder` named one of `names`, in any case; steps through `train/train`."
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
