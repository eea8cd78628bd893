"""Read a run's held-out predictions, which every report is made from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.run import SPLIT


@dataclass(frozen=True)
class HeldOut:
    """The held-out photos of a run: files (n,), labels y (n,), probabilities (n, classes) and
    near-duplicate groups (n,); without groups, each photo counts on its own."""

    files: np.ndarray
    y: np.ndarray
    probs: np.ndarray
    classes: list[str]
    groups: np.ndarray | None = None

    @property
    def right(self):
        return self.guess == self.y

    @cached_property
    def guess(self):
        return self.probs.argmax(1)

    @cached_property
    def losses(self):
        "Negative log-likelihood of each photo's own label, in nats."
        return -np.log(np.maximum(self.probs[np.arange(len(self.y)), self.y], 1e-12))

    @cached_property
    def worst(self):
        "Numbers of the photos, the highest loss first."
        return np.argsort(-self.losses, kind="stable")

    def without_repeats(self, rows):
        "`rows` less those that have a near-duplicate before them."
        if self.groups is None:
            return rows
        return rows[np.sort(np.unique(self.groups[rows], return_index=True)[1])]


def held_out(run):
    "Read valid.csv of `run`; its first two columns are file and label, the others the classes."
    table = read_csv(run.answers, np.float64)
    if table.empty:
        raise UserError(f"--run {run.path}: held out no photos; there is nothing to report")
    files = table.iloc[:, 0].to_numpy()
    groups = groups_of(run, files)
    return HeldOut(files, *answers(run, table), run.facts.classes, groups)


def groups_of(run, files):
    "(n,) near-duplicate groups of `files`; a file missing from split.csv is a group of its own."
    if not (run.path / SPLIT).exists():
        return None
    split = run.split.drop_duplicates("file").set_index("file")
    found = split["group"].reindex(files).to_numpy(float)
    return np.where(np.isnan(found), -1 - np.arange(len(files)), found).astype(int)


def keys_of(run, table):
    """{(content, label, count of earlier repeats): near-duplicate group} of the photos in `table`.

    A photo is identified by content and label, so that renamed or moved data still match.
    """
    split = run.split.set_index("file")
    files, labels = table.iloc[:, 0], table.iloc[:, 1].to_numpy()
    try:
        known = split.loc[files, ["content", "group"]].reset_index(drop=True)
    except KeyError:
        named = f"{run.answers.name} names photos that {SPLIT} lacks"
        raise UserError(f"--run {run.path}: {named}") from None
    key = pd.DataFrame({"content": known["content"], "label": labels})
    before = key.groupby(["content", "label"]).cumcount()
    keys = zip(key["content"], key["label"], before, strict=True)
    return dict(zip(keys, known["group"], strict=True))


def answers(run, table, kind=np.float64):
    "(labels (n,), probabilities (n, classes) as `kind`) of the predictions in `table`."
    classes, file = run.facts.classes, run.answers.name
    y = pd.Index(classes).get_indexer(table.iloc[:, 1])
    try:
        probs = table.iloc[:, 2:].to_numpy(kind)  # a class named like one of our columns is text
    except ValueError as error:
        raise UserError(f"--run {run.path}: {file} is damaged: {error}") from None
    if (y < 0).any() or probs.shape[1] != len(classes) or not np.isfinite(probs).all():
        raise UserError(
            f"--run {run.path}: {run.answers.name} is damaged: classes or probabilities do not fit"
        )
    return y, probs
