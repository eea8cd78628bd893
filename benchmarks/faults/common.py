"""Shared by the campaigns: commands as whole processes, a toy challenge, leftover processes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import draw_folder  # noqa: E402

ARCH = "tf_efficientnet_lite0"
NET = ["--arch", ARCH, "--size", "64", "--bs", "8", "--epochs", "6"]
CLASSES = {"frog": 16, "blue+whale": 14, "höhlen bär": 12}
TRACE = "Traceback"


class Bench:
    "A folder with a generated challenge, a finished run, and its predictions of the test photos."

    def __init__(self, place):
        self.place, self.data = place, draw_folder(place / "data", CLASSES)
        self.own = ["--runs", str(place / "runs"), "--cache", str(place / "cache")]
        self.train = ["train.py", "--data", str(self.data), *self.own, *NET]
        check(call(*self.train, "--epochs", "0"))
        check(self.ask())
        self.expected = self.answer()

    def ask(self, *more):
        "Run `predict.py` with the first run."
        out = ["--out", str(self.place / "out/s.csv")]
        return call("predict.py", "--run", "1", "--no-forecast", *self.own, *out, *more)

    def answer(self):
        return (self.place / "out/probabilities.csv").read_bytes()

    def faults(self, told):
        "What is wrong with the first run now; told: what was done before."
        done = self.ask()
        if done.returncode or TRACE in done.stderr:
            return [f"{told}: {done.stderr[-200:]}"]
        return [] if self.answer() == self.expected else [f"{told}: probabilities changed"]

    def commands(self):
        "{name: words} of every command for this challenge."
        out, sheets, data = str(self.place / "out/t.csv"), str(self.place / "audit"), str(self.data)
        return {
            "train": [*self.train, "--workers", "2"],
            "resume": ["train.py", *self.own, "--resume", "last"],
            "predict": ["predict.py", *self.own, "--out", out],
            "audit": ["audit.py", "--data", data, *self.own[2:], "--out", sheets],
            "interpret": ["interpret.py", *self.own, "--confusion", "--top-losses"],
            "compare": ["compare.py", *self.own[:2]],
        }


def words_of(command):
    return [sys.executable, str(ROOT / command[0]), *command[1:]]


def call(*command, most=None):
    "Run the command to its end; most: size limit of its files in bytes."

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # otherwise a kill, not a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    given = {"capture_output": True, "text": True, "check": False, "errors": "replace"}
    env = dict(os.environ)
    return subprocess.run(words_of(command), preexec_fn=limit if most else None, env=env, **given)


def begun(command):
    "Start the command and leave it running."
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words_of(command), **quiet, errors="replace")


def check(done):
    if done.returncode:
        sys.exit(done.stderr[-2000:])


def mistold(done):
    "Whether a command ended neither well nor with exactly one line that names the error."
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return TRACE in done.stderr or bool(done.returncode and len(lines) != 1)


def leftovers(place, patience=15):
    "Processes that still name `place` in their command line after `patience` seconds."
    end = time.monotonic() + patience
    while (found := _naming(place)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _naming(place):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if str(place) in path.read_text(errors="replace") else []
        except OSError:  # the process has just ended
            continue
    return found
