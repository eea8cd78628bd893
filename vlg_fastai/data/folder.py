"""Folder in, layout out: where training, validation and test photos lie. Looks at names only."""

from dataclasses import dataclass
from pathlib import Path

from vlg_fastai.config import DEMO, UserError

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".jp2",
}  # fmt: skip
DEFAULT, DEMO_FOLDER, DEMO_MARK = Path("data"), Path("data/demo"), "demo.json"
TRAIN, VALID, TEST = ("train", "training"), ("valid", "val", "validation"), ("test", "testing")


@dataclass(frozen=True)
class Layout:
    "An image folder; `train` and `valid` hold class folders, `test` holds photos or is None."

    root: Path
    train: Path
    valid: Path | None = None
    test: Path | None = None

    @property
    def classes(self):
        "The class folders of the training side; `DIR/<class>` has valid and test beside them."
        return class_folders(self.train, (*VALID, *TEST) if self.train == self.root else ())

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


def layout(data):
    "Find train, valid and test in `data`, through doubled folders; UserError where there is none."
    if not data.is_dir():
        what = "is no folder" if data.exists() else "no such folder"
        raise UserError(f"--data {data}: {what}; give the one that holds train/<class>/*")
    root = _descend(data)
    train = _child(root, TRAIN)
    if train is None:
        if not class_folders(root, apart=(*VALID, *TEST)):
            raise UserError(f"--data {data}: no class folders; expected {data}/train/<class>/*.jpg")
        train = root
    return Layout(root, train, _child(root, VALID), _child(root, TEST))


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
        if path.name.lower() not in apart and not (path / DEMO_MARK).exists()
    ]


def photos(folder):
    "(photos, number of other files) below `folder`, sorted by path; hidden ones do not count."
    files = sorted(path for path in folder.rglob("*") if not _hidden(path, folder))
    files = [path for path in files if not path.is_dir()]
    wanted = [path for path in files if path.suffix.lower() in SUFFIXES and not _is_pipe(path)]
    return wanted, len(files) - len(wanted)


def _is_pipe(path):
    "True for what exists but is no file: reading it could wait for ever. A dead link is broken."
    return path.exists() and not path.is_file()


def _is_challenge(folder):
    return _child(folder, TRAIN) is not None or any(
        photos(c)[0] for c in class_folders(folder, (*VALID, *TEST))
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
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path, folder))


def _hidden(path, below):
    return any(part.startswith((".", "__")) for part in path.relative_to(below).parts)
