"""The run folder: created under its own number, its options and facts read once."""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vlg_fastai.cli import as_json
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.console import say
from vlg_fastai.runs.facts import UNFINISHED, Facts
from vlg_fastai.runs.files import read_csv, read_json

CONFIG, HISTORY, SPLIT, VALID = "config.json", "history.csv", "split.csv", "valid.csv"
IN_SPLIT = "file", "label", "group", "split"  # columns of split.csv that every reader needs
TEST = "test.csv"  # last test predictions that predict.py made with this run alone
FORECAST = "forecast.json"  # what predict.py expected of these, and why
CHECKPOINT = "checkpoint"  # folder of all that an unfinished fit depends on
EXPORTED = "preprocess.json"  # a folder that has it is an export, not a run
CANDIDATES = "candidates"  # folder of the models not kept, a run folder each
WEIGHTS = "model.safetensors"
OOF = "oof.csv"  # out-of-fold predictions of every labelled photo, by the probe or the fold nets
FOLD, REFIT = "fold-{}", "refit"  # folders of the nets of a run of folds, run folders each


@dataclass(frozen=True)
class Run:
    "One run folder; `config` holds its options, `facts` its results."

    path: Path

    @cached_property
    def config(self):
        "The options of the run; options newer than the run have their defaults."
        return {**as_json(TrainConfig()), **read_json(self.path / CONFIG)}

    @cached_property
    def facts(self):
        return Facts.read(self.path)

    def check_finished(self):
        """Raise KeyboardInterrupt if the run was interrupted, so that a shell stops there as well;
        UserError if some of its nets are missing."""
        if self.facts.status == UNFINISHED:
            raise UserError(f"{self.path}: some of its nets did not finish; fit them:"
                            f" train.py --resume {self.words}")  # fmt: skip
        if self.facts.status == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted; {self.path} holds the best so far: predict.py --run {self.words};"
                f" resume: train.py --resume {self.words}"
            )

    @cached_property
    def status(self):
        "Status in its facts; None if they are damaged, which is reported once."
        try:
            return self.facts.status
        except UserError as error:
            say(f"left out: {error}")
            return None

    @property
    def done(self):
        return self.status == "finished"

    @property
    def can_go_on(self):
        return self.status in (UNFINISHED, "interrupted")

    @property
    def number(self):
        return number_of(self.path)

    @property
    def split(self):
        "split.csv as a table; UserError if it lacks a column that every reader needs."
        table = read_csv(self.path / SPLIT)
        lacking = [name for name in IN_SPLIT if name not in table]
        if lacking:
            raise UserError(f"--run {self.path}: {SPLIT} is damaged: no column {lacking[0]}")
        return table

    @property
    def members(self):
        "The runs that this one averages; [] for an ordinary one."
        return [Run(self.path / one["run"]) for one in self.facts.folds]

    @property
    def refitted(self):
        "Whether one of its members was trained on all photos."
        return any(one["run"] == REFIT for one in self.facts.folds)

    @property
    def answers(self):
        "The file of its predictions on photos that it did not see."
        return self.path / (OOF if self.facts.folds else VALID)

    @property
    def megabytes(self):
        "Size of its weights, those of all its members together; 0 where they are gone."
        files = [one.path / WEIGHTS for one in self.members or [self]]
        return sum(path.stat().st_size for path in files if path.exists()) / 1e6

    @property
    def forecast(self):
        "The accuracy that predict.py last expected of a test, as in `FORECAST`; {} if of none."
        try:
            return read_json(self.path / FORECAST).get("forecast") or {}
        except (UserError, AttributeError):
            return {}

    @property
    def words(self):
        "What to write after --run or --resume to name this run."
        root = self.path.parent
        if not self.number:  # a member or a candidate of another
            return typed(self.path)
        return str(self.number) if root == Path("runs") else f"{self.number} --runs {typed(root)}"

    @property
    def called(self):
        "Its name among the runs of its folder; that of a member or candidate includes its run's."
        home = self.path.parent
        home = home.parent if home.name == CANDIDATES else home
        return self.path.name if self.number else f"{home.name}:{self.path.name}"

    @property
    def reports(self):
        folder = self.path / "reports"
        folder.mkdir(exist_ok=True)
        return folder


def typed(path):
    "`path` as it is typed in a command; slashes need no quotes in any shell, backslashes do."
    return shlex.quote(path.as_posix())


def create(root, name):
    "Make the next numbered run folder under `root`; parallel calls never share a number."
    root.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(root), default=0) + 1
    while not _claimed(root, number, path := root / f"{number:04d}-{safe_name(name)}"):
        number += 1
    return Run(path)


def _claimed(root, number, path):
    "Create `path` unless `number` is taken or being taken; the hidden folder is the claim."
    claim = root / f".{number:04d}"
    try:
        claim.mkdir(exist_ok=False)
    except FileExistsError:
        return False
    try:
        free = number not in _numbers(root)
        if free:
            path.mkdir(exist_ok=False)
        return free
    finally:
        claim.rmdir()


def _numbers(root):
    return {number_of(path) for path in root.iterdir()}


def safe_name(name):
    "`name` with every character that a file system may refuse turned into `_`."
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "run"


def number_of(path):
    head = path.name.split("-")[0]
    return int(head) if head.isdigit() else 0
