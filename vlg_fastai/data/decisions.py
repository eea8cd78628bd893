"""Read, write and apply decisions.csv: a person's decisions about photos and labels.

A decision belongs to a photo's content within a class folder, so it survives renames, and a copy in
another folder has its own. The photos themselves are never touched.
"""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.runs.files import replacing

NAME = "decisions.csv"
COLUMNS = ("content", "label", "action", "new_label", "file")
# once: drop all but the first of equal files in one folder; undo: cancel the earlier decision
ACTIONS = ("keep", "relabel", "drop", "once", "undo")
DROPPED = "dropped by decision"


def append_undecided(path, rows):
    """Append to `path` those of `rows` whose photos have no decision yet, and return them.

    The file is read again first: a person may have decided while a command was running, and the
    last line about a photo wins.
    """
    made = read(path).made
    rows = [row for row in rows if (row["content"], row["label"]) not in made]
    append(path, rows)
    return rows


@dataclass(frozen=True)
class Decision:
    "One of `ACTIONS`; `new_label` is set for relabel."

    action: str
    new_label: str = ""


@dataclass(frozen=True)
class Decisions:
    "{(content, class folder): Decision} and the file that holds them."

    path: Path
    made: dict

    def __len__(self):
        return len(self.made)

    def replayed(self, table):
        """Apply the decisions to `table` (columns content, label, problem): relabel, drop photos.

        The column `folder` keeps the class folder's label. A new label that no photo of the table
        has cannot be applied: it is reported, and the photo keeps its label.
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
            say(f"{self.path}: {len(odd)} labels match no class here, e.g. {odd[0]!r}: not applied")
        return table

    def say(self, table):
        "Report how many decisions apply to the replayed `table`, and which file holds them."
        if not len(self):
            if (
                self.path.exists() or self.path.name != NAME
            ):  # otherwise nobody has decided anything
                say(f"decisions: none yet in {self.path}")
            return
        keys = set(zip(table["content"], table["folder"], strict=True))
        found = [decision.action for key, decision in self.made.items() if key in keys]
        told = ", ".join(f"{found.count(a)} {a}" for a in ACTIONS if a in found) or "none apply"
        say(f"decisions: {told} ({len(self)} in {self.path})")


def find(asked, data):
    "Path of decisions.csv: `asked` if given, else in the data folder, else in the current one."
    if asked is not None:
        return asked
    beside = data / NAME
    return beside if beside.exists() or os.access(data, os.W_OK) else Path(NAME)


def read(path):
    "Read the `Decisions` in `path`; the last one about a photo wins, a missing file has none."
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
    "(rows, columns) of the file at `path`; UserError if it is not a table of decisions."
    content = path.read_bytes()
    if b"\0" in content:
        raise UserError(f"--decisions {path}: contains NUL bytes: damaged, or not saved as UTF-8")
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows, columns = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise UserError(f"--decisions {path}: cannot be read as CSV ({error})") from None
    if len(columns) == 1 and ";" in columns[0]:
        raise UserError(f"--decisions {path}: uses semicolons as separators; save it with commas")
    if text.strip() and not rows and not set(COLUMNS[:3]) <= set(columns):
        raise UserError(f"--decisions {path}: needs the columns {', '.join(COLUMNS[:3])}")
    return rows, columns


def _checked(path, number, row):
    lacking = [name for name in COLUMNS[:3] if not row.get(name)]
    if lacking:
        raise UserError(f"--decisions {path}: line {number} has no {lacking[0]}")
    if row["action"] not in ACTIONS:
        known = ", ".join(ACTIONS)
        raise UserError(
            f"--decisions {path}: line {number}: {row['action']!r} is not one of {known}"
        )
    new = row.get("new_label") or ""
    if row["action"] == "relabel" and not new:
        raise UserError(f"--decisions {path}: line {number}: relabel needs a new_label")
    return (row["content"], row["label"]), Decision(row["action"], new)


def append(path, rows):
    "Append `rows` (dicts of `COLUMNS`) to `path`; existing rows and any extra columns stay."
    there, columns = _rows(path) if path.exists() else ([], [])
    columns = list(dict.fromkeys([*columns, *COLUMNS]))
    with (
        replacing(path) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*there, *rows])
