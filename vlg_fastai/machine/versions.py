"""Record what a run was made with: versions, commit, platform, device."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from vlg_fastai import __version__

PACKAGES = ("torch", "torchvision", "fastai", "fastcore", "timm", "numpy", "pandas", "pillow")


def circumstances(source, machine, start):
    "Where the weights came from, how long it took, and on what."
    weights = {"from": source.kind, "file": source.file and source.file.name}
    return {"weights": weights, **made_on(machine, start)}


def made_on(machine, start):
    "How long it took, and on what."
    return {
        "seconds": round(time.monotonic() - start, 1),
        "device": str(machine.device),
        "precision": machine.precision,
        "workers": machine.workers,
        "ranks": machine.ranks.count,
        "versions": versions(),
        "platform": platform.platform(),
        "git": revision(),
        "command": sys.argv,
    }


def versions():
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"vlg_fastai": __version__, "python": platform.python_version(), **found}


@cache  # of the code that this process has loaded, whatever is checked out later
def revision():
    "The commit of this code, or None outside a checkout or without git."
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
