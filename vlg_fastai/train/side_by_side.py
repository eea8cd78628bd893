"""Fit folds in parallel, each in its own process, as many at a time as there are devices."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import torch

from vlg_fastai.cli import plain_errors
from vlg_fastai.console import Lines, bar, clock, say
from vlg_fastai.data import split
from vlg_fastai.machine import device
from vlg_fastai.runs.run import HISTORY, Run
from vlg_fastai.train import fold
from vlg_fastai.train.prepare import prepare, settle_and_scan

if TYPE_CHECKING:
    from vlg_fastai.train.assembling import Fold

LOG = "log.txt"  # output of a process, in the folder of its fold
PATIENCE = 60  # seconds that processes get to save their work when asked to stop
STEP = 0.5  # seconds between checks
WHAT = "folds, epoch", "folds"


def fit_all(todo, devices, source, settle, more=0):
    """Fit the `Fold`s `todo`, each on the next free one of `devices`; False if stopped.

    settle: called after each of them; more: fits that come after all. If a process dies, its fold
    is lost and reported. Processes are spawned: a forked one cannot use a GPU that its parent has
    used.
    """
    team, waiting = Team(devices, source), list(todo)
    try:
        with bar() as live:
            tell = progress(live, todo)
            while waiting or team.jobs:
                while waiting and team.free:
                    rounds = -(-len(waiting) // len(devices)) + more
                    team.begin(waiting.pop(0), rounds)
                for job in team.ended():
                    if job.told():
                        settle()
                tell()
    except KeyboardInterrupt:
        say("stopping every fold after its current batch")
        team.stop(signal.SIGINT)
        return False
    finally:
        team.stop(signal.SIGTERM)
    return True


@dataclass
class Job:
    "A fold being fitted by a process on the device `name`."

    one: "Fold"
    name: str
    process: multiprocessing.process.BaseProcess
    start: float

    def told(self):
        "Report whether the fold is done, and return it."
        folder = self.one.run.path
        if fold.is_done(self.one.run):
            say(f"{folder.name}: done on {self.name} in {clock(time.monotonic() - self.start)}")
            return True
        lines = (folder / LOG).read_text("utf-8", "replace").split("\n") if self.log_there else []
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        say(f"{folder.name} failed (exit code {self.process.exitcode} on {self.name}); its last"
            f" output: {last}; full log: {folder / LOG}")  # fmt: skip
        return False

    @property
    def log_there(self):
        return (self.one.run.path / LOG).exists()


class Team:
    "The processes that fit folds, one per device at a time."

    def __init__(self, devices, source):
        self.free, self.source, self.jobs = list(devices), source, []
        on_cpu = sum(torch.device(name).type == "cpu" for name in devices)
        self.threads = max(device.cpus() // on_cpu, 1) if on_cpu else None

    def begin(self, one, rounds):
        "Start a process that fits the Fold `one`; rounds: how many folds run in sequence here."
        name, cfg = self.free.pop(0), one.prepared.cfg
        hours = fold.part_of(cfg.hours, rounds, gone=True)
        cfg = replace(cfg, device=name, hours=hours, resume=str(one.run.path))
        threads = self.threads if torch.device(name).type == "cpu" else None
        given = cfg, self.source, one.run.path, threads
        process = multiprocessing.get_context("spawn").Process(target=work, args=given)
        process.start()
        self.jobs.append(Job(one, name, process, time.monotonic()))

    def ended(self):
        "Jobs that have ended by now, or do so within `STEP`; their devices are freed."
        wait([job.process.sentinel for job in self.jobs], STEP)
        over = [job for job in self.jobs if not job.process.is_alive()]
        for job in over:
            job.process.join()
            self.jobs.remove(job)
            self.free.append(job.name)
        return over

    def stop(self, signum):
        "Ask all to stop and wait until they have saved their work; kill those that do not."
        for job in self.jobs:
            if job.process.is_alive():
                os.kill(job.process.pid, signum)
        end = time.monotonic() + PATIENCE
        for job in self.jobs:
            job.process.join(max(end - time.monotonic(), 0))
            if job.process.is_alive():
                job.process.kill()
                job.process.join()
        self.jobs = []


def progress(live, todo):
    "A function that shows how many epochs of `todo` are done, or folds if there are no epochs."
    cfg = todo[0].prepared.cfg
    epochs = cfg.epochs + cfg.freeze_epochs if cfg.epochs else 0
    total, what = (epochs or 1) * len(todo), WHAT[not epochs]

    def done():
        return sum(epochs_of(one.run) if epochs else fold.is_done(one.run) for one in todo)

    before = done()
    task, lines = live.add_task(what, total=total, completed=before), Lines(what, total, before)

    def tell():
        now = done()
        live.update(task, completed=now)
        lines.update(now)

    return tell


def epochs_of(run):
    "Number of epochs in the history of `run`."
    file = run.path / HISTORY
    return max(file.read_bytes().count(b"\n") - 1, 0) if file.exists() else 0


def work(cfg, source, path, threads):
    "Entry point of a process: fit the fold whose split and options are in `path`."
    apart(path / LOG)
    with plain_errors():
        if threads:
            torch.set_num_threads(threads)
        machine, run = device.prepare(cfg), Run(path)
        cfg, scanned = settle_and_scan(cfg, source)
        prepared = prepare(cfg, source, scanned, machine, split.of_run(run))
        if not fold.fit(prepared, source, run):
            raise KeyboardInterrupt("stopped")


def apart(log):
    """Send all output of this process to the file `log`, let Ctrl-C reach it through its parent
    alone, and have it save its work if the parent dies."""
    if hasattr(os, "setsid"):
        os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
