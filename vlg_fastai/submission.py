"""Sample submission and predictions in, submission out: its header, its ids, its order."""

from pathlib import PurePosixPath

import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say

PATTERNS = ("*sample*submission*.csv", "*Sample*ubmission*.csv", "sample.csv")
HEADER = ["Id", "Category"]
# what an Id may be, tried in this order: the first by which every Id has a photo is taken
RULES = {
    "path": lambda file, folder: file,
    "path with the folder's name": lambda file, folder: f"{folder}/{file}",
    "name": lambda file, folder: PurePosixPath(file).name,
    "path without suffix": lambda file, folder: str(PurePosixPath(file).with_suffix("")),
    "stem": lambda file, folder: PurePosixPath(file).stem,
}


def find_sample(asked, folders):
    "The sample submission: the one `asked` for, or the only one in `folders`, or None."
    if asked is not None:
        return asked
    found = {p.resolve() for f in folders if f for name in PATTERNS for p in f.glob(name)}
    if len(found) > 1:
        names = ", ".join(sorted(str(path) for path in found))
        raise UserError(f"--sample: several could be meant ({names}); name one")
    return found.pop() if found else None


def read_sample(path):
    "The sample as a table of text; UserError where it has no rows or an Id twice."
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--sample {path}: cannot be read as CSV ({error})") from None
    if table.empty:
        raise UserError(f"--sample {path}: has no rows; give another, or remove it")
    ids = table.iloc[:, 0]
    if ids.duplicated().any():
        raise UserError(f"--sample {path}: the Id {ids[ids.duplicated()].iloc[0]!r} is there twice")
    return table


def order(sample, files, folder):
    """Positions in `files` (paths relative to the test folder called `folder`), one a sample row.

    UserError where an Id has no photo, or could mean two.
    """
    ids = list(sample.iloc[:, 0])
    keys = {name: [rule(file, folder) for file in files] for name, rule in RULES.items()}
    best = max(keys, key=lambda name: len(set(ids) & set(keys[name])))  # the first of the best
    lacking = sorted(set(ids) - set(keys[best]))
    if lacking:
        raise UserError(
            f"--sample: {len(lacking)} of {len(ids)} Ids have no photo in {folder},"
            f" e.g. {', '.join(lacking[:3])}; is it for another folder? see --test"
        )
    at = pd.Series(range(len(files)), index=keys[best])
    doubtful = at.index[at.index.duplicated()].intersection(ids)
    if len(doubtful):
        raise UserError(f"--sample: the Id {doubtful[0]!r} means several photos by its {best}")
    extra = len(files) - len(ids)
    if extra:
        say(f"{extra} photos have no Id in the sample: they are beside the submission only")
    return at.loc[ids].to_numpy()


def check_columns(sample, classes, unseen=()):
    """UserError where the columns behind the Id are neither one category nor the classes.

    unseen: labels of more classes that may have a column each.
    """
    asked = list(sample.columns)[1:]
    if len(asked) > 1 and set(asked) not in (set(classes), {*classes, *unseen}):
        raise UserError(
            f"--sample: its columns {', '.join(asked[:3])}... are neither one category nor the"
            f" classes {', '.join(classes[:3])}...; give another sample"
        )


def table(sample, files, probs, classes, category):
    """The submission: the sample's columns, or Id and Category, for `files`.

    Where the sample has one column behind the Id it takes `category`, else `probs` (n, classes).
    """
    columns = list(sample.columns) if sample is not None else HEADER
    ids = list(sample.iloc[:, 0]) if sample is not None else list(files)
    asked = columns[1:] or HEADER[1:]
    if len(asked) == 1:
        return pd.DataFrame({columns[0]: ids, asked[0]: category})
    filled = pd.DataFrame(probs, columns=classes)[asked]
    filled.insert(0, columns[0], ids)
    return filled
