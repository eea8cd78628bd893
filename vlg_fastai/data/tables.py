"""Find the table of labels in a data folder, and the photos it is about, from names alone."""

import re

from vlg_fastai.config import UserError
from vlg_fastai.console import say

TRAINING = {"train", "training", "trainset", "label", "labels", "labelled", "annotations"}
TESTING = {"test", "testing", "testset"}
PHOTOS = {"images", "photos", "imgs", "pictures", "jpg", "jpeg", "png"}


def asked(cfg, root, folders):
    """(table, folder of its photos) that the options of `cfg` name below `root`, or None.

    folders: those that hold photos themselves.
    """
    labels, photos = getattr(cfg, "labels", None), getattr(cfg, "photos", None)
    if labels is None and photos is None:
        return None
    if labels is None:
        raise UserError(f"--photos {photos}: needs --labels, the table of their labels")
    if photos is None:
        photos = _photos(folders)
    if photos is None:
        raise UserError(
            f"--labels {labels}: cannot tell which folder in {root} holds its photos; give --photos"
        )
    if not photos.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"--photos {photos}: is not inside --data {root}; give a --data folder that holds both"
        )
    return labels, photos


def beside(root, folders):
    "The same for a data folder that holds one table of labels and no class folders."
    found = [path for path in sorted(root.glob("*.csv")) if words(path.stem) & TRAINING]
    photos = _photos(folders)
    if len(found) != 1 or photos is None:
        return None
    say(f"{root}: no class folders, so labels come from {found[0].name}, photos from {photos.name}")
    return found[0], photos


def say_unused(root):
    "Name the tables of labels in a data folder whose labels come from class folders."
    for path in sorted(root.glob("*.csv")):
        if words(path.stem) & TRAINING:
            say(f"{root}: labels come from class folders; {path.name} is not read"
                f" (--labels {path} reads it instead)")  # fmt: skip


def _photos(folders):
    "The folder among `folders` that holds the training photos, or None if none stands out."
    folders = [path for path in folders if not words(path.name) & TESTING]
    for known in (TRAINING, PHOTOS):
        named = [path for path in folders if words(path.name) & known]
        if len(named) == 1:
            return named[0]
    return folders[0] if len(folders) == 1 else None


def test_of(root, folders):
    "The folder of test photos among `folders`, or None if none stands out."
    named = [path for path in folders if words(path.name) & TESTING]
    return named[0] if len(named) == 1 else None


def of_test(root):
    "The only table of test photos in `root`, or None."
    found = [path for path in sorted(root.glob("*.csv")) if words(path.stem) & TESTING]
    return found[0] if len(found) == 1 else None


def words(name):
    return set(re.findall(r"[a-z]+", name.lower()))
