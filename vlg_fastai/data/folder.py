"""Find the training, validation and test photos of a data folder, from names alone."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from vlg_fastai.config import DEMO, UserError
from vlg_fastai.console import muted
from vlg_fastai.data import tables
from vlg_fastai.data.walking import (
    DEMO_MARK,
    TEST,
    TRAIN,
    VALID,
    child,
    class_folders,
    descend,
    folders,
    holds_photos,
    photos,
    undouble,
)  # fmt: skip

OF_TABLE = "id_col", "label_col", "group_col"  # options that need a table of labels
DEFAULT, DEMO_FOLDER = Path("data"), Path("data/demo")
# words that mark a folder as one side of a split, next to another folder named the same way:
# training_set and test_set, seg_train and seg_test, train-images and test1-images
WORDS = {TRAIN: {*TRAIN, "trainset"}, VALID: {*VALID, "dev", "valset"}, TEST: {*TEST, "testset"}}


@dataclass(frozen=True)
class Layout:
    """An image folder; `train` and `valid` hold class folders, `test` holds photos or is None.

    apart: folders that commands write to; they are never classes, wherever they are.
    """

    root: Path
    train: Path
    valid: Path | None = None
    test: Path | None = None
    apart: frozenset[Path] = field(default=frozenset())
    labels: Path | None = None  # the table of labels for the photos in `train`, if any

    @property
    def classes(self):
        "The class folders of the training side; with `DIR/<class>`, valid and test are siblings."
        if self.labels is not None:
            return []
        names = (*VALID, *TEST) if self.train == self.root else ()
        return [
            path for path in class_folders(self.train, names) if path.resolve() not in self.apart
        ]

    @property
    def is_demo(self):
        return (self.root / DEMO_MARK).exists()


def choose(data, cfg=None):
    """Return `--data`, else the folder that holds the table or photos of `cfg`, else `data` if it
    holds the user's own photos, else the generated challenge."""
    named = [getattr(cfg, name, None) for name in ("labels", "photos")]
    if data is not None:
        return data
    if all(named):
        return Path(os.path.commonpath([path.parent.resolve() for path in named]))
    if named[0]:
        return named[0].parent
    return DEFAULT if DEFAULT.is_dir() and _is_challenge(DEFAULT) else DEMO_FOLDER


def defaults_for(cfg):
    "Options that suit the data folder of `cfg`: the generated challenge gets a small, fast model."
    data = choose(cfg.data, cfg)
    if data == DEMO_FOLDER or (data / DEMO_MARK).exists():
        return DEMO
    with muted():
        layout(data, cfg=cfg)  # reports a wrong path before anything heavy is loaded
    return {}


def layout(data, apart=frozenset(), cfg=None):
    """Find train, valid and test in `data`, through doubled folders; UserError if there are none.

    cfg: options that may name a table of labels; one inside the folder is found without them.
    """
    if not data.is_dir():
        what = "not a folder" if data.exists() else "no such folder"
        raise UserError(f"--data {data}: {what}; give the folder that holds train/<class>/*")
    root = data if getattr(cfg, "photos", None) else descend(data)
    found = labelled(root, apart, cfg)
    for name in OF_TABLE if found is None else ():
        if asked := getattr(cfg, name, None):
            raise UserError(f"--{name.replace('_', '-')} {asked}: needs a table of labels, and"
                            f" there is none in {root}; see --labels")  # fmt: skip
    if found is None:
        tables.say_unused(root)
    return found or of_classes(root, apart, data)


def labelled(root, apart, cfg=None):
    "The layout of a folder whose labels are in a table; None if they are folder names."
    flat = [path for path in (root, *folders(root)) if holds_photos(path)]
    found = tables.asked(cfg, root, flat)
    found = found or (tables.beside(root, flat) if child(root, TRAIN) in (None, *flat) else None)
    if found is None:
        return None
    home = root / found[1].resolve().relative_to(root.resolve())  # spelled as `root` is
    return Layout(root, home, None, tables.test_of(root, flat), apart, found[0])


def of_classes(root, apart, data):
    "The layout of a folder whose labels are folder names."
    train = child(root, TRAIN)
    if train is None and (pair := _pair(root)):
        if not class_folders(pair[TRAIN]):
            raise UserError(
                f"--data {data}: {pair[TRAIN].name} next to {pair[TEST].name} looks like the"
                f" training side, but holds no class folders; expected {data}/train/<class>/*.jpg,"
                " or --labels for a table"
            )
        return Layout(root, pair[TRAIN], pair.get(VALID), pair[TEST], apart)
    if train is None:
        if not class_folders(root, apart=(*VALID, *TEST)):
            raise UserError(
                f"--data {data}: no class folders; expected {data}/train/<class>/*.jpg, or --labels"
                " for a table"
            )
        train = root
    return Layout(root, train, child(root, VALID), _side(root, TEST), apart)


def written_by(cfg):
    "The folders that the command of `cfg` writes to, which are not searched for photos."
    asked = [getattr(cfg, name, None) for name in ("runs", "out", "cache")]
    asked += getattr(cfg, "extra", ())
    return frozenset(path.resolve() for path in asked if isinstance(path, Path))


def check_apart(layout, cfg):
    "UserError if the command of `cfg` would write among the photos of a class or of the test."
    sides = filter(None, (layout.train, layout.valid, layout.test))
    among = [path.resolve() for path in (*layout.classes, *filter(None, (layout.test,)))]
    same = {side.resolve() for side in sides}
    for name in ("runs", "out", "cache"):
        path = getattr(cfg, name, None)
        if not isinstance(path, Path) or path.suffix == ".csv":
            continue
        real = path.resolve()
        if real in same or any(folder in (real, *real.parents) for folder in among):
            raise UserError(f"--{name} {path}: is inside a folder of photos; name one outside it")


def _pair(root):
    "{TRAIN: folder, TEST: folder, ...} of `root` whose names differ only in the words for sides."
    found = {}
    for path in folders(root):
        words = re.findall(r"[a-z]+", path.name.lower())
        for side, known in WORDS.items():
            rest = tuple(word for word in words if word not in known)
            if len(rest) < len(words):
                found.setdefault(rest, {}).setdefault(side, []).append(path)
    for sides in found.values():
        if {TRAIN, TEST} <= sides.keys() and all(len(paths) == 1 for paths in sides.values()):
            return {side: undouble(paths[0]) for side, paths in sides.items()}
    return None


def _side(root, names):
    "`child`, or the only folder beside the training side with a word for that side in its name."
    found = child(root, names)
    if found is not None or child(root, TRAIN) is None:
        return found
    alike = [p for p in folders(root) if WORDS[names] & {*re.findall("[a-z]+", p.name.lower())}]
    return undouble(alike[0]) if len(alike) == 1 else None


def of_run(cfg, run):
    "The folder that file names of `run` are relative to: `--data`, or the one it was trained on."
    data = cfg.data or Path(run.config["data"])
    return descend(data) if data.is_dir() else data


def test_of(cfg, run):
    "`--test`, or the test folder beside the photos that `run` was trained on; UserError if none."
    found = found_test(cfg, run)
    if found is None:
        raise UserError(
            f"--test: no folder `test` in {of_run(cfg, run)}, the data of {run.path.name}; give the"
            " folder of photos to predict, or another --run"
        )
    return found


def found_test(cfg, run):
    "The same, or None if there is no such folder."
    if cfg.test is not None:
        return cfg.test
    data = of_run(cfg, run)
    if not data.is_dir():
        return None
    if run.config["labels"]:
        return tables.test_of(data, [path for path in folders(data) if holds_photos(path)])
    pair = _pair(data)
    return child(data, TEST) or (pair[TEST] if pair else _side(data, TEST))


def _is_challenge(folder):
    return child(folder, TRAIN) is not None or any(
        photos(c).found for c in class_folders(folder, (*VALID, *TEST))
    )
