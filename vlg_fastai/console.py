"""Output of a running command: a line per event, a progress bar in a terminal."""

import os
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_EVERY = 10.0  # seconds between progress lines when the output is not a terminal

LOG = 140  # characters in a line when the output is not a terminal


class Steadfast(Console):
    "A console whose reader may go away (`| head`): the work continues silently."

    def on_broken_pipe(self):
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


console = Steadfast(emoji=False)  # a file may be named :x:
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = LOG  # keep rich from folding tables in a log to 80


_muted = ContextVar("muted", default=False)


@contextmanager
def muted():
    "Silence `say`, `show` and new bars: for work of which only the result matters."
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)


def say(line=""):
    "Print one line as it is: no wrapping, no markup (file names may contain brackets)."
    if _muted.get():
        return
    with suppress(OSError):  # a terminal that was closed
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text):
    "`text` with what the terminal cannot show escaped: names need not be valid UTF-8."
    return _escaped(text, console.encoding or "utf-8")


def drawable(text):
    "The same for pages and pictures, which show all valid UTF-8 whatever the terminal."
    return _escaped(text, "utf-8")


def _escaped(text, encoding):
    return str(text).encode(encoding, "backslashreplace").decode(encoding)


def show(title, columns, rows):
    "Print a small table under its title; numbers are right-aligned."
    if _muted.get():
        return
    say(title)  # rich would wrap a title to the width of the table
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    rows = [list(row) for row in rows]
    for i, column in enumerate(columns):
        text = any(isinstance(row[i], str) for row in rows)
        table.add_column(column, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(cell)) for cell in row])
    with suppress(OSError):
        console.print(table)


def counted(number, what="photo", several=None):
    "`1 photo`, `2 photos`; `several` is the plural where it is irregular."
    return f"{number} {what if number == 1 else several or f'{what}s'}"


def clock(seconds):
    "Seconds in readable form: `48 s`, `3 min 20 s`, `2 h 05 min`."
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


class Bar(Progress):
    "A live bar that survives a closed terminal."

    def stop(self):
        with suppress(OSError):
            super().stop()


def bar():
    "A live bar with an estimate; it draws nothing when the output is not a terminal."
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    live = console.is_terminal and not _muted.get()
    return Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not live)


class Lines:
    """Progress lines for logs: at most one every `LINE_EVERY` seconds, each with the time left.

    before: how many of `total` an earlier run did; they say nothing about the pace of this one.
    """

    def __init__(self, what, total, before=0):
        self.what, self.total, self.before = what, total, before
        self.start = self.last = time.monotonic()

    def update(self, done):
        now = time.monotonic()
        self.before = min(self.before, done)  # what is done anew starts from nothing
        if not self.before < done < self.total or now - self.last < LINE_EVERY:
            return
        self.last = now
        if console.is_terminal:  # asked seldom: a system call hands the turn to other threads
            return
        left = (now - self.start) / (done - self.before) * (self.total - done)
        say(f"{self.what} {done}/{self.total}, {clock(left)} left")


def track(items, what, total):
    "Yield from `items` while a bar (terminal) or an occasional line (log) shows the progress."
    lines = Lines(what, total)
    with bar() as progress:
        task = progress.add_task(what, total=total)
        for done, item in enumerate(items, 1):
            yield item
            progress.update(task, completed=done)
            lines.update(done)
