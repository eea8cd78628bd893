"""The run folder: made under a number of its own, written file by file, found again by name."""

import csv
import json
import math
import os
import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.console import say

CONFIG, HISTORY, SPLIT, VALID = "config.json", "history.csv", "split.csv", "valid.csv"
TEST = "test.csv"  # what predict.py said last of the test photos with this run alone
OOF = "oof.csv"  # out-of-fold predictions of the probe, of every labelled photo
TEXT = ("file", "label", "folder", "content", "split", "problem", "Id", "category", "closed_set")
FACTS = "facts.json"  # written last: a folder that has it is usable


@dataclass(frozen=True)
class Run:
    "One run folder; `config` is what was asked, `facts` what came out."

    path: Path

    @cached_property
    def config(self):
        return read_json(self.path / CONFIG)

    @cached_property
    def facts(self):
        return read_json(self.path / FACTS)

    def check_finished(self):
        "KeyboardInterrupt for a run that was interrupted, so that a shell stops there as well."
        if self.facts["status"] == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted; {self.path} holds the best so far: predict.py --run {self.number}"
            )

    @property
    def done(self):
        try:
            return self.facts["status"] == "finished"
        except UserError as error:  # one damaged run is no reason to stop
            say(f"left out: {error}")
            return False

    @property
    def number(self):
        return _number(self.path)

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
    return {_number(path) for path in root.iterdir()}


def safe_name(name):
    "`name` with everything that a file system may refuse turned into `_`."
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "run"


def find(root, names):
    "The runs that `names` (numbers, names or paths) mean; without names the newest usable one."
    return [_named(root, name) for name in names] if names else [newest(root)]


def finished(root, names, against=None):
    "(the runs `names`, or all finished ones under `root`; the Run `against` among them, or None)."
    usable = sorted(_usable(root), key=lambda run: run.number)
    named = {run.path.resolve(): run for run in (_named(root, name) for name in names)}
    chosen = list(named.values()) or [run for run in usable if run.done]
    if not chosen:
        raise UserError(f"--runs {root}: no finished run in it; train one with `python train.py`")
    if len(usable) > len(chosen) and not names:
        say(f"{len(usable) - len(chosen)} interrupted or dry runs are left out; --run takes them")
    if against is None:
        return chosen, None
    reference = _named(root, against)
    for run in chosen:
        if run.path.resolve() == reference.path.resolve():
            return chosen, run
    return [*chosen, reference], reference


def newest(root):
    "The newest finished run under `root`; without one, the newest interrupted or dry one, said."
    usable = sorted(_usable(root), key=lambda run: run.number)
    done = [run for run in usable if run.done]
    if done:
        return done[-1]
    if not usable:
        raise UserError(f"--runs {root}: no usable run in it; train one with `python train.py`")
    run = usable[-1]
    say(f"no finished run in {root}: taking {run.path.name} ({run.facts['status']})")
    return run


def _usable(root):
    return [Run(path.parent) for path in root.glob(f"*/{FACTS}")]


def _named(root, name):
    by_name = [path for path in sorted(root.glob("*")) if path.is_dir() and _answers_to(path, name)]
    candidates = by_name if by_name else [Path(name)]
    if len(candidates) > 1:
        raise UserError(f"--run {name}: means {', '.join(p.name for p in candidates)}; name one")
    run = Run(candidates[0])
    if not run.path.is_dir():
        known = ", ".join(sorted(run.path.name for run in _usable(root))) or "none yet"
        raise UserError(f"--run {name}: no such run in {root}; usable: {known}")
    if not (run.path / FACTS).exists():
        raise UserError(f"--run {name}: {run.path} was not finished; it has no {FACTS}")
    return run


def _answers_to(path, name):
    return path.name == name or (name.isdigit() and _number(path) == int(name))


def _number(path):
    head = path.name.split("-")[0]
    return int(head) if head.isdigit() else 0


@contextmanager
def replacing(path):
    """Yield a path beside `path` to write to; it takes `path`'s place only when all went well.

    Not before the disk has it: after a power cut there is the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        with beside.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path, content):
    "Write `content` as JSON; NaN is written as null, as JSON has none."
    with replacing(path) as beside:
        # ASCII with escapes: a file name need not be valid UTF-8, and still reads back equal
        beside.write_text(json.dumps(_plain(content), indent=1), encoding="ascii")


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def read_json(path):
    "The content of a JSON file of a run; a damaged one is the user's to know about."
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--run {path.parent}: cannot read {path.name} ({error})") from None


def write_csv(path, table):
    "Write a pandas table without its index, floats to seven significant digits."
    form = {"float_format": "%.7g", "lineterminator": "\n", "errors": "surrogateescape"}
    with replacing(path) as beside:
        table.to_csv(beside, index=False, quoting=quoting(table), **form)


def quoting(table):
    "csv's way to quote `table`: sparing, but for a carriage return, which it would leave bare."
    text = [table.columns, *(c for _, c in table.items() if c.dtype.kind not in "biufc")]
    returns = any("\r" in str(value) for part in text for value in part)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def read_csv(path, numbers=None):
    """A table that `write_csv` wrote; text stays text, for a class may be called `nan` or `007`.

    numbers: type of all other columns, which is faster than finding out.
    """
    import pandas as pd  # here: the commands look for runs before anything heavy is loaded

    text = dict.fromkeys(TEXT, str)
    types = defaultdict(lambda: numbers, text) if numbers else text
    try:
        return pd.read_csv(
            path, dtype=types, na_filter=False, low_memory=False, encoding_errors="surrogateescape"
        )
    except (OSError, ValueError) as error:
        raise UserError(f"--run {path.parent}: cannot read {path.name} ({error})") from None
