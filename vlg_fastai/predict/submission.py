"""Build the submission from predictions, with the header, ids and order of a sample."""

import re
from pathlib import Path

import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.data import labels, tables
from vlg_fastai.data.ids import best_rule

# matches the letters of a CSV's name: sample_submission, sampleSubmission, SAMPLE-SUB, sample
SAMPLE = re.compile(r"sample|.*sample.*sub.*|.*sub.*sample.*")
PERHAPS = re.compile(r".*(sample|submission|template|example|format).*")  # worth a hint
HEADER = ["Id", "Category"]


def find_sample(asked, folders, written=()):
    """The sample submission: the one `asked` for, or the only one in `folders`, or None.

    Files with a similar name are reported, unless they are among the paths `written` by us.
    """
    if asked is not None:
        return asked
    there = {p.resolve() for f in folders if f and f.is_dir() for p in f.iterdir()}
    names = {p: letters(p.stem) for p in sorted(there) if p.suffix.lower() == ".csv"}
    found = [path for path, name in names.items() if SAMPLE.fullmatch(name)]
    if len(found) > 1:
        raise UserError(f"--sample: several files match ({', '.join(map(str, found))}); name one")
    if found:
        return found[0]
    for path, name in names.items():
        if PERHAPS.fullmatch(name) and path not in written:
            say(f"{path}: may be a sample submission; if so, pass it with --sample")
    return None


def of_table(run, root, test, files):
    """A sample with the ids of the only table of test photos in the data folder `root`, in its
    order, if the labels of `run` came from a table as well; else None."""
    found = tables.of_test(root) if run.config["labels"] else None
    if found is None:
        return None
    table = labels.read(found, "--sample")
    best, matching = labels.likeliest(table, files, test.name)
    if matching < labels.MATCHING:
        say(f"{found}: ignored, as no column holds ids of the photos in {test}")
        return None
    say(f"using ids and order of {found}, column {best!r}")
    ids = with_photo(found, table[best], files, test.name)
    return pd.DataFrame({best: ids, run.config["label_col"] or HEADER[1]: ""})


def with_photo(path, ids, files, folder):
    "Those of `ids` in the table at `path` that name a photo, each once; the rest is reported."
    odd = ids.duplicated() | ~ids.isin(best_rule(ids, files, folder)[1])
    if odd.any():
        named = ", ".join(ids[odd].head(3))
        say(f"{path}: {odd.sum()} of {len(ids)} ids repeated or without a photo, e.g. {named}:"
            " left out")  # fmt: skip
    return ids[~odd].reset_index(drop=True)


def letters(name):
    return re.sub(r"[^a-z]", "", name.lower())


def read_sample(path):
    "The sample as a table of text; UserError where it has no rows or repeats an Id."
    form = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        cells = pd.read_csv(path, header=None, **form)  # keeps the header as it is, empty cells too
    except (OSError, ValueError) as error:
        raise UserError(f"--sample {path}: cannot be read as CSV ({error})") from None
    table = cells.iloc[1:].reset_index(drop=True).set_axis(cells.iloc[0].tolist(), axis=1)
    if table.shape[1] == 1 and ";" in table.columns[0]:
        raise UserError(f"--sample {path}: uses semicolons; save it with commas")
    if table.empty:
        raise UserError(f"--sample {path}: has no rows; give another, or remove it")
    ids = table.iloc[:, 0]
    if ids.duplicated().any():
        raise UserError(f"--sample {path}: the Id {ids[ids.duplicated()].iloc[0]!r} occurs twice")
    return table


def order(sample, files, folder):
    """Positions in `files` (paths relative to the test folder called `folder`), one per sample row.

    UserError where an Id matches no photo, or several.
    """
    ids = list(sample.iloc[:, 0])
    best, keys = best_rule(ids, files, folder)
    lacking = sorted(set(ids) - set(keys))
    if lacking:
        raise UserError(
            f"--sample: {len(lacking)} of {len(ids)} Ids have no photo in {folder},"
            f" e.g. {', '.join(lacking[:3])}; if it is for another folder, set --test"
        )
    at = pd.Series(range(len(files)), index=keys)
    doubtful = at.index[at.index.duplicated()].intersection(ids)
    if len(doubtful):
        raise UserError(f"--sample: the Id {doubtful[0]!r} matches several photos by its {best}")
    extra = len(files) - len(ids)
    if extra:
        say(f"beside the submission only, without an Id in the sample: {counted(extra)}")
    return at.loc[ids].to_numpy()


def check_columns(sample, classes, unseen=()):
    """UserError where the columns after the Id are neither one category nor the classes.

    unseen: labels of further classes that may have a column each.
    """
    asked = list(sample.columns)[1:]
    meant = columns_of(asked, [*classes, *unseen])
    if len(asked) > 1 and set(meant) not in (set(classes), {*classes, *unseen}):
        raise UserError(
            f"--sample: its columns {', '.join(asked[:3])}... are neither one category nor the"
            f" classes {', '.join(classes[:3])}...; give another sample"
        )


def columns_of(asked, labels):
    "The label that each of the columns `asked` means, ignoring letter case and punctuation."
    known = {}
    for label in labels:
        known.setdefault(key_of(label), []).append(label)
    alike = {column: known.get(key_of(column), []) for column in asked}
    return [
        column if column in labels or len(alike[column]) != 1 else alike[column][0]
        for column in asked
    ]


def key_of(label):
    return " ".join(re.findall(r"[^\W_]+", label.casefold()))


def check_labels(sample, path, labels):
    "UserError where the only category column of the `sample` at `path` holds none of `labels`."
    given = sorted({*sample.iloc[:, 1]} - {""}) if sample.shape[1] == 2 else []
    if given and not set(given) & set(labels):
        raise UserError(
            f"--sample {path}: its {sample.columns[1]!r} holds {given[0]!r}, but no class has that"
            f" name ({', '.join(labels[:3])}, ...); --labels-as index numbers the classes from 0 in"
            " this order, --labels-as FILE gives each one's label (class,label per line),"
            " --labels-as names submits the class names anyway"
        )


def spelling(asked, labels, reject=None):
    """{label: what is submitted for it}, as --labels-as `asked`; UserError for a missing label.

    reject: the label among them that is none of the contest's: it has the number after theirs.
    """
    if asked in (None, "names"):
        return {label: label for label in labels}
    if asked == "index":
        named = sorted(set(labels) - {reject}) + [reject] * (reject in labels)
        return {label: str(i) for i, label in enumerate(named)}
    told = _told(asked)
    lacking = [label for label in labels if label not in told]
    if lacking:
        raise UserError(f"--labels-as {asked}: has no line for {', '.join(lacking[:3])}")
    return told


def _told(path):
    form = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        cells = pd.read_csv(Path(path), header=None, **form)
    except (OSError, ValueError) as error:
        raise UserError(f"--labels-as {path}: cannot be read as CSV ({error})") from None
    if cells.shape[1] != 2:
        raise UserError(f"--labels-as {path}: needs two columns, class and label, without spaces")
    return dict(zip(cells[0], cells[1], strict=True))


def table(sample, files, probs, classes, category):
    """The submission: the sample's columns, or Id and Category, for `files`.

    If the sample has one column after the Id, it gets `category`, else `probs` (n, classes).
    """
    columns = list(sample.columns) if sample is not None else HEADER
    ids = list(sample.iloc[:, 0]) if sample is not None else list(files)
    asked = columns[1:] or HEADER[1:]
    if len(asked) == 1:
        filled = pd.DataFrame({0: ids, 1: category})
    else:
        filled = pd.DataFrame(probs, columns=classes)[columns_of(asked, classes)]
        filled.insert(0, "", ids, allow_duplicates=True)
    return filled.set_axis([columns[0], *asked], axis=1)
