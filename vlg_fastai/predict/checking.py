"""Report what is odd about a submission, in a few lines, and keep the one that it replaces."""

import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd

from vlg_fastai.console import counted, say

NAMED = 3  # classes or photos named on a line
TOO_OFTEN = 2.0  # times as often as in training, and
NOISE = 4.0  # standard deviations of the count above it


def check(answer, prior, before, table):
    """Report what is odd about the submission `table`, whose photos are those of `answer`.

    prior: {class: share of the training photos}; before: the submission that it replaces, or None.
    Both tables are `as_text`: a number is written with fewer digits than it has.
    """
    say(shares(answer.category, prior))
    if before is not None:
        say(changed(before, table))
    lost = answer.photos["problem"].notna()
    if lost.any():
        files = ", ".join(answer.photos.loc[lost, "file"].head(NAMED))
        many = counted(lost.sum())
        say(f"the training prior stands in for {many} that could not be predicted, e.g. {files}")


def shares(category, prior):
    "How predictions are spread over the classes, compared with the training photos."
    counts = pd.Series(category).value_counts()
    n, never, often = len(category), [], []
    for label, share in prior.items():
        count, expected = counts.get(label, 0), n * share
        if not count and expected >= 1:
            never.append(label)
        if (
            share
            and count > TOO_OFTEN * expected
            and count - expected > NOISE * np.sqrt(max(expected, 1))
        ):
            often.append(f"{label} {count} ({expected:.0f} expected of {n} photos)")
    rare = f"never: {_some(never)}" if never else "no class is missing"
    common = f"far more often than in training: {_some(often)}" if often else "none far too often"
    return f"{len(counts)} labels predicted; {rare}; {common}"


def _some(names):
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def changed(before, table):
    "How many rows differ from the previous submission."
    one, other = (t.astype(str).set_axis(range(t.shape[1]), axis=1) for t in (before, table))
    one, other = one.drop_duplicates(0).set_index(0), other.drop_duplicates(0).set_index(0)
    both = one.index.intersection(other.index)
    if one.shape[1] != other.shape[1] or not len(both):
        return "the previous submission has other photos or columns"
    differ = (one.loc[both] != other.loc[both]).any(axis=1)
    told = f"{differ.sum()} of {len(both)} rows differ from the previous submission"
    files = ", ".join(map(str, both[differ][:NAMED]))
    return f"{told}, e.g. {files}" if differ.any() else told


def as_text(path):
    "The submission at `path` as it is written, `0001` and all; None if it is not a table."
    form = {"dtype": str, "na_filter": False, "encoding_errors": "surrogateescape"}
    try:
        return pd.read_csv(path, **form)
    except (OSError, ValueError):
        return None


@contextmanager
def kept(path):
    """Yield the submission at `path`, or None if none can be read, before another is written.

    If the new one differs, the old one is kept as `submission-1.csv`, or the next free number.
    """
    if not path.is_file():
        yield None
        return
    number = 1
    while (old := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    shutil.copy2(path, old)
    yield as_text(old)
    if old.read_bytes() == path.read_bytes():
        old.unlink()
    else:
        say(f"kept the previous submission as {old}")
