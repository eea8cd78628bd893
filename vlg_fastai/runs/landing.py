"""Files of a run that belong together in, in their places together out, whenever the writer dies.

A set is written whole into a hidden folder, its facts last; from then on whoever comes by moves it
into place. So a kill leaves the old set or the new one, never weights beside the facts of others.
"""

import os
import shutil
from contextlib import contextmanager, suppress

from vlg_fastai.runs.facts import FACTS

NEXT = ".next"


@contextmanager
def together(folder):
    "Yield a folder to write a whole set of files into, facts.json last: they then go to `folder`."
    land(folder)
    shutil.rmtree(folder / NEXT, ignore_errors=True)  # of a writer that died half-way
    (folder / NEXT).mkdir(parents=True)
    yield folder / NEXT
    land(folder)


def land(folder):
    "Move the set into place that waits in `folder`, if there is a whole one: its facts move last."
    waiting = folder / NEXT
    if not (waiting / FACTS).exists():
        return
    with suppress(FileNotFoundError):  # somebody else is moving it as well
        for path in sorted(waiting.iterdir(), key=lambda path: path.name == FACTS):
            with suppress(FileNotFoundError):
                os.replace(path, folder / path.name)
    with suppress(OSError):
        waiting.rmdir()


def land_where_allowed(folder):
    "`land`, unless the folder may only be read."
    with suppress(OSError):
        land(folder)
