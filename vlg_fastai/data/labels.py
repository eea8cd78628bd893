"""Read a table of labels for a folder of photos, one row per photo: Kaggle's usual form.

A row that cannot be used is reported and left out, without affecting the others.
"""

import csv
import io
import re
from dataclasses import dataclass, replace

import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.data.ids import best_rule
from vlg_fastai.data.walking import photos

ENCODINGS = "utf-8-sig", "utf-16", "cp1252"
SEPARATORS = ",;\t|"
SAMPLE = 64_000  # characters read to detect the separator
LABELS = {"label", "labels", "class", "classes", "classname", "category", "categoryid", "target",
          "breed", "species", "diagnosis", "y"}  # fmt: skip
SIDES = {"split", "set", "subset", "side", "partition"}
FOLD = "fold"
WORDS = {"train": "train", "training": "train", "valid": "valid", "val": "valid",
         "validation": "valid", "dev": "valid"}  # fmt: skip
SEVERAL = re.compile(r"[|;, ]+")  # between labels of one cell
MATCHING = 0.5  # share of a column's cells that must match photos for it to hold ids
NAMED = 3  # rows named in a message


@dataclass(frozen=True)
class Columns:
    "The column of the table for each role; None where it has none."

    id: str
    label: str
    group: str | None = None
    side: str | None = None
    fold: str | None = None

    def in_words(self):
        told = {"ids": self.id, "labels": self.label, "groups": self.group, "split": self.side,
                "folds": self.fold}  # fmt: skip
        return ", ".join(f"{what} in {name!r}" for what, name in told.items() if name)


def read(path, option="--labels"):
    "Read the table at `path` as text; UserError, naming `option`, if it is not one."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option} {path}: {error.strerror}") from None
    text = _decoded(path, content, option)
    separator = _separator(text)
    form = {"dtype": str, "keep_default_na": False, "sep": separator, "header": None}
    try:  # the header is read as a row, since it may be shorter than the rows
        cells = pd.read_csv(io.StringIO(text), **form)
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{option} {path}: cannot be read as CSV ({error})") from None
    table = cells.iloc[1:].reset_index(drop=True).set_axis(cells.iloc[0].tolist(), axis=1)
    if table.shape[1] < (2 if option == "--labels" else 1) or table.empty:
        raise UserError(f"{option} {path}: has no rows with at least an id and a label")
    table.columns = [str(name).strip() for name in table.columns]
    if table.columns.duplicated().any():
        twice = table.columns[table.columns.duplicated()][0]
        raise UserError(f"{option} {path}: has two columns called {twice!r}; rename one")
    return table.apply(lambda cells: cells.str.strip())


def _decoded(path, content, option):
    for encoding in ENCODINGS:
        if encoding == "utf-16" and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise UserError(f"{option} {path}: contains NUL bytes; not a text table")
        if encoding != ENCODINGS[0]:
            say(f"{path}: read as {encoding}")
        return text
    raise UserError(f"{option} {path}: neither UTF-8 nor {ENCODINGS[-1]}; save it as UTF-8")


def _separator(text):
    try:
        return csv.Sniffer().sniff(text[:SAMPLE].split("\n", 1)[0], SEPARATORS).delimiter
    except csv.Error:
        return ","


def columns_of(cfg, table, files, folder):
    "The `Columns` of `table`: from options, else from header and content, which is reported."
    for name in ("id_col", "label_col", "group_col"):
        asked = getattr(cfg, name)
        if asked is not None and asked not in table:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {asked}: no such column; the table has {', '.join(table)}")
    ids = cfg.id_col or _ids(cfg, table, files, folder)
    by_word = {re.sub(r"[^a-z]", "", name.lower()): name for name in reversed(list(table))}
    side = next((by_word[word] for word in by_word if word in SIDES), None)
    if side is not None and not set(table[side].str.lower()) <= {*WORDS, "test", ""}:
        side = None
    taken = {ids, cfg.group_col, side, by_word.get(FOLD)}
    rest = [name for name in table if name not in taken]
    label = cfg.label_col or _label(cfg, table, rest)
    found = Columns(ids, label, cfg.group_col, side, by_word.get(FOLD))
    if not (cfg.id_col and cfg.label_col):
        say(f"{cfg.labels}: {found.in_words()}")
    return found


def settled(cfg, layout):
    "`cfg` with the table that `layout` found and its columns, so that a repeat need not guess."
    cfg = replace(cfg, labels=layout.labels.resolve(), photos=layout.train.resolve())
    files = [path.relative_to(layout.train).as_posix() for path in photos(layout.train).found]
    found = columns_of(cfg, read(cfg.labels), files, layout.train.name)
    return replace(cfg, id_col=found.id, label_col=found.label)


def _ids(cfg, table, files, folder):
    "The column with the largest share of cells that match photos; UserError below `MATCHING`."
    best, matching = likeliest(table, files, folder)
    if matching < MATCHING:
        raise UserError(
            f"--labels {cfg.labels}: no column holds ids of the photos in {folder}: the best match"
            f" is {best!r} with {matching:.0%}, e.g. {table[best].iloc[0]!r}; check --photos and"
            " --id-col"
        )
    return best


def likeliest(table, files, folder):
    "(column of `table` most likely to hold ids of `files`, share of its cells that match one)."
    shares = {name: _share(table[name], files, folder) for name in table}
    best = max(shares, key=shares.get)
    return best, shares[best]


def _share(cells, files, folder):
    _, keys = best_rule(cells, files, folder)
    return float(cells.isin(set(keys)).mean())


def _label(cfg, table, names):
    "The column named like a label column, or the only one whose cells repeat."
    called = [name for name in names if re.sub(r"[^a-z]", "", name.lower()) in LABELS]
    repeating = [name for name in names if 2 <= table[name].nunique() <= len(table) / 2]
    found = called or repeating
    if len(found) == 1:
        return found[0]
    if len(names) == 1:
        return names[0]
    what = f"candidates: {', '.join(found)}" if found else f"columns: {', '.join(names)}"
    raise UserError(
        f"--labels {cfg.labels}: cannot tell which column holds the labels ({what}); give"
        " --label-col"
    )


def rows(cfg, files, folder):
    """Read the labels of `cfg` as a table (file, label, bound, given_fold, side), a row per photo.

    files: paths of the photos relative to the folder called `folder`, sorted; rows of missing files
    are kept under their id, to be listed as broken.
    """
    table = read(cfg.labels)
    columns = columns_of(cfg, table, files, folder)
    _, keys = best_rule(table[columns.id], files, folder)
    known, meant = pd.Series(files, index=keys), table[columns.id]
    twice = known.index[known.index.duplicated()].intersection(meant)
    if len(twice):
        raise UserError(
            f"--labels {cfg.labels}: the id {twice[0]!r} matches several photos in {folder}; use"
            " paths relative to it as ids"
        )
    known = known[~known.index.duplicated()]  # photos that share an id which the table lacks
    found = pd.DataFrame({"file": meant.map(known).fillna(meant), "label": table[columns.label]})
    found["bound"] = table[columns.group] if columns.group else ""
    found["given_fold"] = table[columns.fold] if columns.fold else ""
    found["side"] = table[columns.side].str.lower().map(WORDS) if columns.side else "train"
    say_unlisted(files, found["file"], folder)
    found = usable(cfg.labels, found)
    found["given_fold"] = _folds(cfg, found["given_fold"]) if columns.fold else -1
    return found.sort_values("file", kind="stable").reset_index(drop=True)


def _folds(cfg, cells):
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.isna().any() or (numbers % 1 != 0).any():
        odd = cells[numbers.isna() | (numbers % 1 != 0)].iloc[0]
        raise UserError(
            f"--labels {cfg.labels}: fold {odd!r} is not a whole number; fix or rename the column"
        )
    codes, _ = pd.factorize(numbers.astype(int), sort=True)
    return codes


def usable(path, table):
    "`table` without unlabelled or ambiguous rows; each kind is reported in one line."
    table = _left_out(path, table, table["side"].isna(), "belong to the test or to no side")
    table = _left_out(path, table, table["label"] == "", "have no label")
    counts = table["label"].value_counts()
    several = table["label"].map(lambda cell: _several(cell, counts))
    table = _left_out(path, table, several, "have several labels in one cell")
    table = table.drop_duplicates(["file", "label"])
    twice = table["file"].duplicated(keep=False)
    return _left_out(path, table, twice, "give a photo two labels")


def _several(cell, counts):
    """Whether `cell` is a list of labels, each of which is the only label of some other photo.

    counts: how often each cell occurs. Words that are as frequent together as alone are a name:
    sea lion, where sea and lion are classes as well.
    """
    parts = {part for part in SEVERAL.split(cell) if part}
    if len(parts) < 2 or cell in parts or not parts <= set(counts.index):
        return False
    return bool(set("|;,") & set(cell)) or counts[cell] < counts[list(parts)].min()


def _left_out(path, table, odd, what):
    if odd.any():
        named = ", ".join(table.loc[odd, "file"].head(NAMED))
        say(f"{path}: {odd.sum()} rows {what}, e.g. {named}: left out")
    return table[~odd]


def say_unlisted(files, listed, folder):
    "Report how many photos have no row in the table."
    more = sorted(set(files) - set(listed))
    if more:
        say(f"{counted(len(more))} in {folder} without a row, e.g. {more[0]}: left out")
