"""Run trials of one study in a process per device; Optuna distributes the trials."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import torch

from vlg_fastai.cli import plain_errors
from vlg_fastai.config import UserError
from vlg_fastai.console import Lines, bar, say
from vlg_fastai.machine import device
from vlg_fastai.train.fold import part_of
from vlg_fastai.train.folds import devices_of
from vlg_fastai.train.side_by_side import PATIENCE, apart
from vlg_fastai.tune import study

LOG = "log-{}.txt"  # output of a process, in --out
LOOK = 0.5  # seconds between two checks for finished trials


def search(cfg, source, search):
    "Run the trials of `search` in a process per device, and report what they finish."
    names = devices_of(cfg)
    processes = [begun(cfg, source, *pair, len(names)) for pair in enumerate(names)]
    try:
        follow(cfg, search, processes)
    except KeyboardInterrupt:
        say("stopping every process after its batch")
        raise
    finally:
        end(processes)
    for number, (one, name) in enumerate(zip(processes, names, strict=True)):
        if one.exitcode:
            log = cfg.out / LOG.format(number)
            say(f"the process on {name} ended with exit code {one.exitcode}: {log}")
    if not search.done():
        logs = cfg.out / LOG.format("*")
        raise UserError(f"--devices {cfg.devices}: no trial finished; see {logs}")
    study.Pulse(search.known.study, bool(cfg.storage)).tend()


def follow(cfg, search, processes):
    "Report what the `processes` finish, while any is alive."
    said = say_new(search, set())
    lines = Lines("trials", cfg.trials, len(said))
    with bar() as live:
        task = live.add_task("trials", total=cfg.trials, completed=min(len(said), cfg.trials))
        while any(one.is_alive() for one in processes):
            time.sleep(LOOK)
            said |= say_new(search, said)
            live.update(task, completed=min(len(said), cfg.trials))
            lines.update(len(said))
    say_new(search, said)


def say_new(search, said):
    "Report the finished trials that are not among those `said`; returns their numbers."
    new = [trial for trial in search.done() if trial.number not in said]
    for trial in new:
        search.say(trial)
    return {trial.number for trial in new}


def begun(cfg, source, number, name, count):
    "Start a process that runs trials on the device called `name`."
    cfg = replace(cfg, device=name, devices=None, hours=part_of(cfg.hours, 1, gone=True))
    threads = max(device.cpus() // count, 1) if torch.device(name).type == "cpu" else None
    given = cfg, source, number, threads
    made = multiprocessing.get_context("spawn").Process(target=work, args=given)
    made.start()
    return made


def end(processes):
    "Stop every process of `processes`, and wait for it."
    for one in processes:
        if one.is_alive():
            os.kill(one.pid, signal.SIGINT)
    until = time.monotonic() + PATIENCE
    for one in processes:
        one.join(max(until - time.monotonic(), 0))
        if one.is_alive():
            one.kill()
            one.join()


def work(cfg, source, number, threads):
    "The work of a process: run trials until there are enough."
    from vlg_fastai.tune.run import trials_only

    cfg.out.mkdir(parents=True, exist_ok=True)
    apart(cfg.out / LOG.format(number))
    with plain_errors():
        if threads:
            torch.set_num_threads(threads)
        trials_only(cfg, source, number)
