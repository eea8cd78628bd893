"""The run folder: made under a number of its own, its options and facts read once."""

import re
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
TEST = "test.csv"  # what predict.py said last of the test photos with this run alone
CHECKPOINT = "checkpoint"  # folder of all that a fit depends on, while it is not done
CANDIDATES = "candidates"  # folder of what was not kept, a run folder each
WEIGHTS = "model.safetensors"
OOF = "oof.csv"  # out-of-fold predictions of every labelled photo: of the probe, or of folds' nets
FOLD, REFIT = "fold-{}", "refit"  # folders of the nets of a run of folds, run folders each


@dataclass(frozen=True)
class Run:
    "One run folder; `config` is what was asked, `facts` what came out."

    path: Path

    @cached_property
    def config(self):
        "What was asked; of options that are newer than the run, what they are when not given."
        return {**as_json(TrainConfig()), **read_json(self.path / CONFIG)}

    @cached_property
    def facts(self):
        return Facts.read(self.path)

    def check_finished(self):
        """KeyboardInterrupt for a run that was interrupted, so that a shell stops there as well;
        UserError for one that ended without all of its nets."""
        if self.facts.status == UNFINISHED:
            raise UserError(f"{self.path}: not all of its nets came to their end; fit those that"
                            f" did not: train.py --resume {self.words}")  # fmt: skip
        if self.facts.status == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted; {self.path} holds the best so far: predict.py --run {self.words};"
                f" go on: train.py --resume {self.words}"
            )

    @cached_property
    def status(self):
        "That of its facts; None, said once, where they are damaged: no reason to stop."
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
        "split.csv as a table; UserError where it lacks what every reader needs."
        table = read_csv(self.path / SPLIT)
        lacking = [name for name in IN_SPLIT if name not in table]
        if lacking:
            raise UserError(f"--run {self.path}: {SPLIT} is damaged: no column {lacking[0]}")
        return table

    @property
    def members(self):
        "The runs that this one is the mean of; [] for an ordinary one."
        return [Run(self.path / one["run"]) for one in self.facts.folds]

    @property
    def refitted(self):
        "Whether one of its members learned from all photos."
        return any(one["run"] == REFIT for one in self.facts.folds)

    @property
    def answers(self):
        "The file of its answers on photos that it did not see."
        return self.path / (OOF if self.facts.folds else VALID)

    @property
    def words(self):
        "What follows --run or --resume on a command line that means this run."
        root = self.path.parent
        if not self.number:  # a member or a candidate of another
            return str(self.path)
        return str(self.number) if root == Path("runs") else f"{self.number} --runs {root}"

    @property
    def called(self):
        "What it is called beside the runs of its folder: a member or candidate by its run as well."
        home = self.path.parent
        home = home.parent if home.name == CANDIDATES else home
        return self.path.name if self.number else f"{home.name}:{self.path.name}"

    @property
    def reports(self):
        folder = self.path / "reports"
        folder.mkdir(exist_ok=True)
        return folder


def create(root, name):
    "Make the next numbered run folder under `root`; parallel calls never share a number."
    root.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(root), default=0) + 1
    while not _claimed(root, number, path := root / f"{number:04d}-{safe_name(name)}"):
        number += 1
    return Run(path)


def _claimed(root, number, path):
    "Make `path` if nobody has or is taking `number`; the hidden folder is the claim."
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
    "`name` with everything that a file system may refuse turned into `_`."
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "run"


def number_of(path):
    head = path.name.split("-")[0]
    return int(head) if head.isdigit() else 0
