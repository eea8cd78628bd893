"""Tables and JSON of a run in and out of files; each takes its place only when it is whole."""

import csv
import glob
import json
import math
import os
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager, suppress

from vlg_fastai.config import UserError

STALE = 3600  # seconds after which an unfinished file has lost its writer
TEXT = (
    "file", "label", "folder", "content", "split", "problem", "Id", "category", "closed_set",
    "adapted",
)  # fmt: skip


def flush(path):
    "Have the disk hold what was written to `path`, so that no rename can come before its content."
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _umask():
    "What the user's files may not be: it can only be read by setting it."
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()


@contextmanager
def replacing(path):
    """Yield a path beside `path` to write to; it takes `path`'s place only when all went well.

    Not before the disk has it: after a power cut there is the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        flush(beside)
        os.chmod(beside, 0o666 & ~UMASK)  # some writers make files that nobody else may read
        os.replace(beside, path)
    except OSError as error:
        error.filename = str(path)  # what the user knows of, where there is a name at all
        raise
    finally:
        beside.unlink(missing_ok=True)
        _sweep(path)


def _sweep(path):
    "Remove what a writer of `path` left that was killed: nobody else takes it for a file."
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{path.suffix}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def check_room(folder, needed, option):
    """UserError where nothing can be written into `folder`, or no `needed` bytes: before the work.

    option: what names the folder, as the user gives it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"{option}: cannot be written ({error.strerror}); name another") from None
    if free < needed:
        told = f"{free / 1e9:.2f} GB are free, {needed / 1e9:.2f} GB are needed"
        raise UserError(f"{option}: {told}; free some, or name another")


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


def read_json(path, option="--run"):
    """The object in a JSON file; a damaged one is the user's to know about.

    option: what names the folder that it lies in.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{option} {path.parent}: cannot read {path.name} ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{option} {path.parent}: cannot read {path.name} (it holds no object)")
    return found


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
