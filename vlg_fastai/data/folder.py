"""Folder in, layout out: where training, validation and test photos lie. Looks at names only."""

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

DEFAULT, DEMO_FOLDER = Path("data"), Path("data/demo")
# words of which one makes a folder's name that of a side, beside another of the same make:
# training_set and test_set, seg_train and seg_test, train-images and test1-images
WORDS = {TRAIN: {*TRAIN, "trainset"}, VALID: {*VALID, "dev", "valset"}, TEST: {*TEST, "testset"}}


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
    labels: Path | None = None  # the table of labels of the photos in `train`, if there is one

    @property
    def classes(self):
        "The class folders of the training side; `DIR/<class>` has valid and test beside them."
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
    """`--data`, or the folder that the table or photos of `cfg` lie in, or `data` where it holds
    photos of the user's own, or the drawn challenge."""
    named = [getattr(cfg, name, None) for name in ("labels", "photos")]
    if data is not None:
        return data
    if all(named):
        return Path(os.path.commonpath([path.parent.resolve() for path in named]))
    if named[0]:
        return named[0].parent
    return DEFAULT if DEFAULT.is_dir() and _is_challenge(DEFAULT) else DEMO_FOLDER


def defaults_for(cfg):
    "Options that suit the folder `cfg` means: the drawn challenge wants a small, quick model."
    data = choose(cfg.data, cfg)
    if data == DEMO_FOLDER or (data / DEMO_MARK).exists():
        return DEMO
    with muted():
        layout(data, cfg=cfg)  # a wrong path is said now, before anything heavy is loaded
    return {}


def layout(data, apart=frozenset(), cfg=None):
    """Find train, valid and test in `data`, through doubled folders; UserError where there is none.

    cfg: options that may name a table of labels; one that lies there is found without.
    """
    if not data.is_dir():
        what = "is no folder" if data.exists() else "no such folder"
        raise UserError(f"--data {data}: {what}; give the one that holds train/<class>/*")
    root = data if getattr(cfg, "photos", None) else descend(data)
    found = labelled(root, apart, cfg)
    if found is None and getattr(cfg, "group_col", None):
        raise UserError(f"--group-col {cfg.group_col}: is a column of a table of labels, and there"
                        f" is none in {root}; see --labels")  # fmt: skip
    return found or of_classes(root, apart, data)


def labelled(root, apart, cfg=None):
    "The layout of a folder whose labels stand in a table, None where they are names of folders."
    flat = [path for path in (root, *folders(root)) if holds_photos(path)]
    found = tables.asked(cfg, root, flat)
    found = found or (tables.beside(root, flat) if child(root, TRAIN) in (None, *flat) else None)
    if found is None:
        return None
    home = root / found[1].resolve().relative_to(root.resolve())  # as `root` is written
    return Layout(root, home, None, tables.test_of(root, flat), apart, found[0])


def of_classes(root, apart, data):
    "The layout of a folder whose labels are the names of folders."
    train = child(root, TRAIN)
    if train is None and (pair := _pair(root)):
        if not class_folders(pair[TRAIN]):
            raise UserError(
                f"--data {data}: {pair[TRAIN].name} beside {pair[TEST].name} looks like the"
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
    "`_child`, or the only folder beside the training side with a word for that side in its name."
    found = child(root, names)
    if found is not None or child(root, TRAIN) is None:
        return found
    alike = [p for p in folders(root) if WORDS[names] & {*re.findall("[a-z]+", p.name.lower())}]
    return undouble(alike[0]) if len(alike) == 1 else None


def of_run(cfg, run):
    "The folder that the files of `run` are named from: in `--data`, or the one it was trained on."
    data = cfg.data or Path(run.config["data"])
    return descend(data) if data.is_dir() else data


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
