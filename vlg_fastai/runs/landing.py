"""Put files of a run that belong together in place together, whenever the writer dies.

A set is written whole into a hidden folder, its facts last; from then on any process that looks at
the run moves it into place. So a kill leaves the old set or the new one, never a mix of the two.
"""

import os
import shutil
from contextlib import contextmanager, suppress

from vlg_fastai.runs.facts import FACTS

NEXT = ".next"


@contextmanager
def together(folder):
    "Yield a folder to write a whole set of files to, facts.json last; they then move to `folder`."
    land(folder)
    shutil.rmtree(folder / NEXT, ignore_errors=True)  # left by a writer that died half-way
    (folder / NEXT).mkdir(parents=True)
    yield folder / NEXT
    land(folder)


def land(folder):
    "Move the set that waits in `folder` into place, if it is whole; its facts move last."
    waiting = folder / NEXT
    if not (waiting / FACTS).exists():
        return
    with suppress(FileNotFoundError):  # another process is moving it too
        for path in sorted(waiting.iterdir(), key=lambda path: path.name == FACTS):
            with suppress(FileNotFoundError):
                os.replace(path, folder / path.name)
    with suppress(OSError):
        waiting.rmdir()


def land_where_allowed(folder):
    "`land`, unless the folder is read-only."
    with suppress(OSError):
        land(folder)
