"""What a person decided about photos and labels: in and out of decisions.csv, and onto a table.

A decision belongs to a photo's content in a class folder, so it outlives renames, and a copy in
another folder has one of its own. Photos themselves are never touched.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.runs.files import replacing

NAME = "decisions.csv"
COLUMNS = ("content", "label", "action", "new_label", "file")
# once: of equal files in one folder all but the first are dropped; undo: nothing was decided
ACTIONS = ("keep", "relabel", "drop", "once", "undo")
DROPPED = "dropped by decision"


def append_undecided(path, rows):
    """Those of `rows` about photos of which nobody has decided by now, added to the file at `path`.

    It is read again just before: a person may have decided while a command was at work, and of two
    lines about a photo the last one holds.
    """
    made = read(path).made
    rows = [row for row in rows if (row["content"], row["label"]) not in made]
    append(path, rows)
    return rows


@dataclass(frozen=True)
class Decision:
    "One of `ACTIONS`; `new_label` where it is relabel."

    action: str
    new_label: str = ""


@dataclass(frozen=True)
class Decisions:
    "{(content, class folder): Decision} and the file they are kept in."

    path: Path
    made: dict

    def __len__(self):
        return len(self.made)

    def replayed(self, table):
        """`table` (columns content, label, problem) as decided: labels changed, photos dropped.

        The column `folder` keeps the label that the class folder gives. A label that no photo of
        the table has cannot be given; it is said, and the photo stays as it is.
        """
        table = table.assign(folder=table["label"])
        known, odd, seen = set(table["label"]), [], set()
        for at, row in zip(
            table.index, zip(table["content"], table["label"], strict=True), strict=True
        ):
            decision = self.made.get(row)
            if decision is None or decision.action == "keep":
                continue
            if decision.action == "drop" or (decision.action == "once" and row in seen):
                table.loc[at, "problem"] = DROPPED
            elif decision.action == "once":
                seen.add(row)
            elif decision.new_label in known:
                table.loc[at, "label"] = decision.new_label
            else:
                odd.append(decision.new_label)
        if odd:
            say(f"{self.path}: {len(odd)} labels are no class here, e.g. {odd[0]!r}: left as it is")
        return table

    def say(self, table):
        "Say how many decisions were found for the replayed `table`, and where they are kept."
        if not len(self):
            say(f"decisions: none yet in {self.path}")
            return
        keys = set(zip(table["content"], table["folder"], strict=True))
        found = [decision.action for key, decision in self.made.items() if key in keys]
        told = ", ".join(f"{found.count(a)} {a}" for a in ACTIONS if a in found) or "none applies"
        say(f"decisions: {told} ({len(self)} in {self.path})")


def find(asked, data):
    "The file of decisions: the one `asked` for, else in the data folder, else in this one."
    if asked is not None:
        return asked
    beside = data / NAME
    return beside if beside.exists() or os.access(data, os.W_OK) else Path(NAME)


def read(path):
    "The `Decisions` in `path`, the last one about a photo; none where there is no such file."
    if not path.exists():
        return Decisions(path, {})
    made = {}
    for number, row in enumerate(_rows(path)[0], 2):
        key, decision = _checked(path, number, row)
        made.pop(key, None)
        if decision.action != "undo":
            made[key] = decision
    return Decisions(path, made)


def _rows(path):
    "(rows, columns) of the file at `path`; UserError where it is no table of decisions."
    content = path.read_bytes()
    if b"\0" in content:
        raise UserError(f"--decisions {path}: holds NUL bytes: damaged, or not saved as UTF-8")
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        reader = csv.DictReader(text.splitlines(keepends=True))
        rows, columns = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise UserError(f"--decisions {path}: cannot be read as CSV ({error})") from None
    if len(columns) == 1 and ";" in columns[0]:
        raise UserError(f"--decisions {path}: is separated by semicolons; save it with commas")
    if text.strip() and not rows and not set(COLUMNS[:3]) <= set(columns):
        raise UserError(f"--decisions {path}: has no columns {', '.join(COLUMNS[:3])}")
    return rows, columns


def _checked(path, number, row):
    lacking = [name for name in COLUMNS[:3] if not row.get(name)]
    if lacking:
        raise UserError(f"--decisions {path}: line {number} has no {lacking[0]}")
    if row["action"] not in ACTIONS:
        known = ", ".join(ACTIONS)
        raise UserError(f"--decisions {path}: line {number}: {row['action']!r} is none of {known}")
    new = row.get("new_label") or ""
    if row["action"] == "relabel" and not new:
        raise UserError(f"--decisions {path}: line {number}: relabel needs a new_label")
    return (row["content"], row["label"]), Decision(row["action"], new)


def append(path, rows):
    "Add `rows` (dicts of `COLUMNS`) to the file at `path`; what is there stays, other columns too."
    there, columns = _rows(path) if path.exists() else ([], [])
    columns = list(dict.fromkeys([*columns, *COLUMNS]))
    with (
        replacing(path) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*there, *rows])
