"""What the user reads while a command works: a line per event, a bar where there is a terminal."""

import os
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_EVERY = 10.0  # seconds between progress lines where the output is not a terminal

LOG = 140  # characters of a line where the output is no terminal


class Steadfast(Console):
    "A console whose reader may go away (`| head`): the work goes on without a word."

    def on_broken_pipe(self):
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


console = Steadfast(emoji=False)  # a file may be called :x:
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = LOG  # tables in a log are not folded to the 80 that rich assumes


_muted = ContextVar("muted", default=False)


@contextmanager
def muted():
    "Have `say`, `show` and new bars be silent: for work of which only the end is of interest."
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)


def say(line=""):
    "Print one line as it stands: no wrapping, no markup (file names may hold brackets)."
    if _muted.get():
        return
    with suppress(OSError):  # a terminal that was closed
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def printable(text):
    "`text` with what no terminal can show written as an escape: names need not be valid UTF-8."
    return _escaped(text, console.encoding or "utf-8")


def drawable(text):
    "The same for pages and pictures, which show all valid UTF-8 whatever the terminal can."
    return _escaped(text, "utf-8")


def _escaped(text, encoding):
    return str(text).encode(encoding, "backslashreplace").decode(encoding)


def show(title, columns, rows):
    "Print a small table under its title; numbers are aligned right."
    if _muted.get():
        return
    say(title)  # rich would break a title as narrow as the table
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    rows = [list(row) for row in rows]
    for i, column in enumerate(columns):
        text = any(isinstance(row[i], str) for row in rows)
        table.add_column(column, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(cell)) for cell in row])
    with suppress(OSError):
        console.print(table)


def clock(seconds):
    "Seconds as a person says them: `48 s`, `3 min 20 s`, `2 h 05 min`."
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


class Bar(Progress):
    "A live bar; a terminal that was closed is no reason to stop."

    def stop(self):
        with suppress(OSError):
            super().stop()


def bar():
    "A live bar with an estimate; it draws nothing where the output is not a terminal."
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    live = console.is_terminal and not _muted.get()
    return Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not live)


class Lines:
    "Progress lines for logs: at most one every `LINE_EVERY` seconds, each with the time left."

    def __init__(self, what, total):
        self.what, self.total = what, total
        self.start = self.last = time.monotonic()

    def update(self, done):
        now = time.monotonic()
        if console.is_terminal or done >= self.total or now - self.last < LINE_EVERY:
            return
        self.last = now
        left = (now - self.start) / max(done, 1) * (self.total - done)
        say(f"{self.what} {done}/{self.total}, {clock(left)} left")


def track(items, what, total):
    "Yield from `items` while a bar (terminal) or a line now and then (log) tells how far it is."
    lines = Lines(what, total)
    with bar() as progress:
        task = progress.add_task(what, total=total)
        for done, item in enumerate(items, 1):
            yield item
            progress.update(task, completed=done)
            lines.update(done)
