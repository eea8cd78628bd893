"""Read and write a run's tables and JSON; a file takes its place only when it is complete."""

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

STALE = 3600  # seconds after which an unfinished file counts as abandoned
TEXT = (
    "file", "label", "folder", "content", "split", "problem", "Id", "category", "closed_set",
    "adapted",
)  # fmt: skip


def flush(path):
    "Flush `path` to the disk, so that no rename can land before its content."
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _umask():
    "The user's umask; it can only be read by setting it."
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()


@contextmanager
def replacing(path):
    """Yield a path beside `path` to write to; it takes `path`'s place only if all goes well.

    It is flushed first: after a power cut there is the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        flush(beside)
        os.chmod(beside, 0o666 & ~UMASK)  # some writers make files that only the owner may read
        os.replace(beside, path)
    except OSError as error:
        error.filename = str(path)  # the name that the user knows
        raise
    finally:
        beside.unlink(missing_ok=True)
        _sweep(path)


def _sweep(path):
    "Remove what a killed writer of `path` left behind; nothing else reads it."
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{path.suffix}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def check_room(folder, needed, option):
    """UserError if `folder` cannot be written or lacks `needed` bytes: before the work begins.

    option: the option and value that name the folder, for the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"{option}: cannot be written ({error.strerror}); try another") from None
    if free < needed:
        told = f"{free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed"
        raise UserError(f"{option}: {told}; free some space, or name another folder")


def check_page(folder, beside, option):
    "UserError if the index.html in `folder` is not ours: each of ours has a file `beside` it."
    page = folder / "index.html"
    if page.exists() and not (folder / beside).exists():
        raise UserError(f"{option}: holds an index.html of something else; name another folder")


def write_json(path, content):
    "Write `content` as JSON; NaN becomes null, since JSON has no NaN."
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
    """Read the object in a JSON file; UserError if it is damaged.

    option: the option that names its folder.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{option} {path.parent}: cannot read {path.name} ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{option} {path.parent}: cannot read {path.name} (not a JSON object)")
    return found


def write_csv(path, table):
    "Write a pandas table without its index, floats to seven significant digits."
    form = {"float_format": "%.7g", "lineterminator": "\n", "errors": "surrogateescape"}
    with replacing(path) as beside:
        table.to_csv(beside, index=False, quoting=quoting(table), **form)


def quoting(table):
    "csv's quoting for `table`: minimal, except for carriage returns, which that leaves unquoted."
    text = [table.columns, *(c for _, c in table.items() if c.dtype.kind not in "biufc")]
    returns = any("\r" in str(value) for part in text for value in part)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def read_csv(path, numbers=None):
    """Read a table that `write_csv` wrote; text stays text: a class may be called `nan` or `007`.

    numbers: type of all other columns, which is faster than inferring it.
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
