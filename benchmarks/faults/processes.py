"""Commands that are killed or run side by side, and runs that are interrupted and resumed."""

import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pandas as pd
from common import ARCH, CLASSES, ROOT, TRACE, Bench, begun, call, leftovers
from conftest import draw_folder, run_training

LOAD = """import random, sys, time
rng = random.Random(int(sys.argv[1]))
while True:
    end = time.monotonic() + rng.uniform(0, 12)
    while time.monotonic() < end:
        pass
    time.sleep(rng.uniform(0, 12))
"""
KILLER = """import os, runpy, signal, sys
at, script = int(sys.argv[1]), sys.argv[2]
seen = 0
def counted(whole):
    def done(*given, **more):
        global seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        out = whole(*given, **more)
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    return done
os.replace, os.fsync = counted(os.replace), counted(os.fsync)
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""
WRITES = 120  # steps of writing in a training, roughly


def kills(count, place, rng):
    """Kill random commands, half of them at a random moment and half while they write; `predict.py`
    must then work and predict the same as before, and no process may be left."""
    bench, faults, writing = Bench(place), [], 0
    commands = bench.commands()
    for number in range(count):
        name = rng.choice(list(commands))
        if rng.random() < 0.2:  # with an empty cache, so that all of the work can be hit
            shutil.rmtree(place / "cache", ignore_errors=True)
        if number % 2:
            killed(commands[name], rng.uniform(2, 16))
        else:
            writing += killed_writing(commands[name], int(WRITES ** rng.random()))
        faults += bench.faults(f"{number} {name}")
        faults += [f"{number} {name}: process {left} is left" for left in leftovers(place)]
    newest = call("predict.py", *bench.own, "--out", str(place / "out/u.csv"))
    print(f"kills: {writing} at a step of writing", flush=True)
    return faults + ([f"at the end: {newest.stderr[-200:]}"] if newest.returncode else [])


def killed(command, seconds):
    with begun(command) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGKILL)


def killed_writing(command, step):
    "Kill the command at its `step`-th flush or rename of a file; returns whether it got there."
    words = [sys.executable, "-c", KILLER, str(step), str(ROOT / command[0]), *command[1:]]
    done = subprocess.run(words, capture_output=True, check=False)
    return done.returncode == -signal.SIGKILL


def writers(count, place, rng):
    "Run two to four commands at once on the same runs, cache and output folder."
    bench, faults = Bench(place), []
    commands = {key: words for key, words in bench.commands().items() if key != "resume"}
    for number in range(count):
        if rng.random() < 0.5:
            shutil.rmtree(place / "cache", ignore_errors=True)
        names = rng.choices(list(commands), k=rng.choice((2, 3, 4)))
        together = [begun(commands[name]) for name in names]
        for name, process in zip(names, together, strict=True):
            error = process.communicate()[1]
            if process.returncode or TRACE in error:
                faults.append(f"{number} {name} of {names}: {error[-200:]}")
        faults += bench.faults(f"{number} after {names}")
    numbers = [path.name.split("-")[0] for path in (place / "runs").glob("[0-9]*")]
    return faults + (["two runs share a number"] if len(set(numbers)) < len(numbers) else [])


def resumes(count, place, rng):
    "Interrupt runs of several kinds at random batches; resumed, each must end as a whole run."
    import pytest
    from test_resuming import EVERY, PLANS, config, going_on, killed_at, left, stopped

    data, faults, whole = draw_folder(place / "data", CLASSES), [], {}
    with pytest.MonkeyPatch.context() as patch:
        for number in range(count):
            plan = rng.choice(list(PLANS))
            workers, minutes = rng.choice((0, 0, 2)), rng.choice((0.0, EVERY))
            options = {**PLANS[plan], "workers": workers}
            if (plan, workers) not in whole:
                whole[plan, workers] = left(run_training(config(data, place / "whole", **options)))
            runs = place / f"{number}"
            cfg = config(data, runs, checkpoint_minutes=minutes, **options)
            at = rng.randint(1, 15)
            stopped(cfg, killed_at(at), patch)
            if left(run_training(going_on(cfg))) != whole[plan, workers]:
                faults.append(f"{plan}, {workers} workers, batch {at}, minutes {minutes}")
            shutil.rmtree(runs)
    return faults


def hours(count, place, rng, most=180):
    "Train with limits of one to three minutes while other load comes and goes."
    from vlg_fastai.demo import challenge

    challenge.draw(place / "data", seed=0)
    own = ["--data", place / "data", "--cache", place / "cache", "--arch", ARCH, "--size", 64]
    faults = []
    for number in range(count):
        limit, runs = rng.uniform(60, most), place / f"runs{number}"
        start, load = time.monotonic(), subprocess.Popen([sys.executable, "-c", LOAD, str(number)])
        words = ["--recipe", "strong", "--epochs", 400, "--hours", limit / 3600, "--runs", runs]
        done = call("train.py", *map(str, own), *map(str, words))
        spent = time.monotonic() - start
        load.kill()
        load.wait()
        history = pd.read_csv(next(runs.glob("*/history.csv")))
        spare = (limit - spent) / history["seconds"].iloc[-3:].max()
        told = f"{number}: {spent:.0f} of {limit:.0f} s, {len(history)} epochs, {spare:.2f} unused"
        print(told, flush=True)
        if done.returncode or spent > limit or spare > 1.15:
            faults.append(told)
    return faults


def long_hours(count, place, rng):
    "The same with limits of one to ten minutes."
    return hours(count, place, rng, most=600)
