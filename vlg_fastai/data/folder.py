"""Folder in, layout out: where training, validation and test photos lie. Looks at names only."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vlg_fastai.config import DEMO, UserError

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".jp2",
}  # fmt: skip
DEFAULT, DEMO_FOLDER, DEMO_MARK = Path("data"), Path("data/demo"), "demo.json"
TRAIN, VALID, TEST = ("train", "training"), ("valid", "val", "validation"), ("test", "testing")
# words of which one makes a folder's name that of a side, beside another of the same make:
# training_set and test_set, seg_train and seg_test, train-images and test1-images
WORDS = {TRAIN: {*TRAIN, "trainset"}, VALID: {*VALID, "dev", "valset"}, TEST: {*TEST, "testset"}}
# what gives away a folder that a command wrote: a file in it, or a folder of such a name with such
# files: an audit, sheets of unknown photos, runs, a cache
OUR_FILES = ("issues.csv", "unknown.csv")
OUR_FOLDERS = {r"\d{4,}-.+": "config.json", r"\w+-[0-9a-f]{16}": "*.index.npy"}


@dataclass(frozen=True)
class Layout:
    """An image folder; `train` and `valid` hold class folders, `test` holds photos or is None.

    apart: folders that commands write to, which are no classes wherever they lie.
    """

    root: Path
    train: Path
    valid: Path | None = None
    test: Path | None = None
    apart: frozenset[Path] = field(default=frozenset())

    @property
    def classes(self):
        "The class folders of the training side; `DIR/<class>` has valid and test beside them."
        names = (*VALID, *TEST) if self.train == self.root else ()
        return [
            path for path in class_folders(self.train, names) if path.resolve() not in self.apart
        ]

    @property
    def is_demo(self):
        return (self.root / DEMO_MARK).exists()


def choose(data):
    "`--data`, or `data` where it holds photos of the user's own, or the drawn challenge."
    if data is not None:
        return data
    return DEFAULT if DEFAULT.is_dir() and _is_challenge(DEFAULT) else DEMO_FOLDER


def defaults_for(cfg):
    "Options that suit the folder `cfg` means: the drawn challenge wants a small, quick model."
    data = choose(cfg.data)
    if data == DEMO_FOLDER or (data / DEMO_MARK).exists():
        return DEMO
    layout(data)  # a wrong path is said now, before anything heavy is loaded
    return {}


def layout(data, apart=frozenset()):
    "Find train, valid and test in `data`, through doubled folders; UserError where there is none."
    if not data.is_dir():
        what = "is no folder" if data.exists() else "no such folder"
        raise UserError(f"--data {data}: {what}; give the one that holds train/<class>/*")
    root = _descend(data)
    train = _child(root, TRAIN)
    if train is None and (pair := _pair(root)):
        if not class_folders(pair[TRAIN]):
            raise UserError(
                f"--data {data}: {pair[TRAIN].name} beside {pair[TEST].name} looks like the"
                f" training side, but holds no class folders; expected {data}/train/<class>/*.jpg"
            )
        return Layout(root, pair[TRAIN], pair.get(VALID), pair[TEST], apart)
    if train is None:
        if not class_folders(root, apart=(*VALID, *TEST)):
            raise UserError(f"--data {data}: no class folders; expected {data}/train/<class>/*.jpg")
        train = root
    return Layout(root, train, _child(root, VALID), _side(root, TEST), apart)


def written_by(cfg):
    "The folders that the command of `cfg` writes to: no photos are looked for in them."
    asked = (getattr(cfg, name, None) for name in ("runs", "out", "cache"))
    return frozenset(path.resolve() for path in asked if isinstance(path, Path))


def check_apart(layout, cfg):
    "UserError where the command of `cfg` would write among the photos of a class or of the test."
    sides = filter(None, (layout.train, layout.valid, layout.test))
    among = [path.resolve() for path in (*layout.classes, *filter(None, (layout.test,)))]
    same = {side.resolve() for side in sides}
    for name in ("runs", "out", "cache"):
        path = getattr(cfg, name, None)
        if not isinstance(path, Path) or path.suffix == ".csv":
            continue
        real = path.resolve()
        if real in same or any(folder in (real, *real.parents) for folder in among):
            raise UserError(f"--{name} {path}: lies among the photos, and would be taken for some")


def _pair(root):
    "{TRAIN: folder, TEST: folder, ...} of `root` whose names differ in the words for sides alone."
    found = {}
    for path in _folders(root):
        words = re.findall(r"[a-z]+", path.name.lower())
        for side, known in WORDS.items():
            rest = tuple(word for word in words if word not in known)
            if len(rest) < len(words):
                found.setdefault(rest, {}).setdefault(side, []).append(path)
    for sides in found.values():
        if {TRAIN, TEST} <= sides.keys() and all(len(paths) == 1 for paths in sides.values()):
            return {side: _undouble(paths[0]) for side, paths in sides.items()}
    return None


def _side(root, names):
    "`_child`, or the only folder beside the training side with a word for that side in its name."
    found = _child(root, names)
    if found is not None or _child(root, TRAIN) is None:
        return found
    alike = [p for p in _folders(root) if WORDS[names] & {*re.findall("[a-z]+", p.name.lower())}]
    return _undouble(alike[0]) if len(alike) == 1 else None


def of_run(cfg, run):
    "The folder that the files of `run` are named from: in `--data`, or the one it was trained on."
    data = cfg.data or Path(run.config["data"])
    return _descend(data) if data.is_dir() else data


def test_of(cfg, run):
    "`--test`, or the test folder beside the photos that `run` was trained on."
    found = found_test(cfg, run)
    if found is None:
        raise UserError(
            f"--test: no folder `test` in {of_run(cfg, run)}, the data of {run.path.name}; name the"
            " folder of photos to predict, or another --run"
        )
    return found


def found_test(cfg, run):
    "The same, or None where there is no such folder."
    data = of_run(cfg, run)
    beside = _child(data, TEST) if data.is_dir() else None
    return beside if cfg.test is None else cfg.test


def class_folders(folder, apart=()):
    "The folders below `folder` that are classes, sorted by name; their names are the labels."
    return [
        path
        for path in _folders(folder)
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
        folders[:] = [name for name in folders if not _is_hidden(name)]
        links = [here / name for name in folders if (here / name).is_symlink()]
        skipped |= dict.fromkeys(links, "a link to a folder")  # it may lead round in a circle
        files += [here / name for name in names if not _is_hidden(name)]
    wanted = [path for path in files if path.suffix.lower() in SUFFIXES and not _is_pipe(path)]
    return Photos(sorted(wanted), len(files) - len(wanted), skipped)


def _is_pipe(path):
    "True for what exists but is no file: reading it could wait for ever. A dead link is broken."
    return path.exists() and not path.is_file()


def _is_challenge(folder):
    return _child(folder, TRAIN) is not None or any(
        photos(c).found for c in class_folders(folder, (*VALID, *TEST))
    )


def _descend(folder):
    "Step into the only folder of a folder that holds nothing else, as unpacked archives do."
    inside = class_folders(folder)  # the drawn challenge may lie beside the user's own
    if len(inside) == 1 and not _holds_photos(folder):
        inner = inside[0]
        if inner.name.lower() not in TRAIN and _folders(inner) and not _holds_photos(inner):
            return _descend(inner)
    return folder


def _holds_photos(folder):
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _child(folder, names):
    "The child of `folder` called one of `names`, in any case; `train/train` is stepped through."
    for path in _folders(folder):
        if path.name.lower() in names:
            return _undouble(path)
    return None


def _undouble(folder):
    inside = _folders(folder)
    if len(inside) == 1 and inside[0].name.lower() == folder.name.lower():
        return folder if _holds_photos(folder) else _undouble(inside[0])
    return folder


def _folders(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p.name))


def _is_hidden(name):
    return name.startswith((".", "__"))
