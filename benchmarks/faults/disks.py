"""Disks that accept no more data: limited file size, full, and read-only."""

import shutil
import subprocess
from contextlib import contextmanager, suppress

from common import Bench, call, mistold

WHERE = "runs", "cache", "out", "audit"  # folders that commands write to
SMALL = 24 * 2**20  # free bytes on top of what lay there: a run of the toy net takes 70 MB


def disk(count, place, rng):
    "Limit file size at random: expect one line that names the target, and unchanged state."
    bench, faults = Bench(place), []
    commands = list(of_first(bench).values())
    for number in range(count):
        command, most = rng.choice(commands), int(10 ** rng.uniform(2, 7.5))
        told = f"{number} {command[0]} {most}"
        done = call(*command, most=most)
        if mistold(done):
            faults.append(f"{told}: {done.stderr[-200:]}")
        faults += bench.faults(told)
    return faults


def of_first(bench):
    "The commands except resume, with the first run where they take one."
    told = {key: words for key, words in bench.commands().items() if key != "resume"}
    for name in ("predict", "interpret"):
        told[name] = [*told[name], "--run", "1"]
    return told


def full(count, place, rng):
    "Fill an in-memory disk of runs, cache or predictions, with random space left (needs root)."

    @contextmanager
    def filled(folder):
        ballast, rest = folder / "ballast", int(10 ** rng.uniform(1, 6.8))
        with ballast.open("wb") as file, suppress(OSError):
            file.write(b"\0" * max(shutil.disk_usage(folder).free - rest, 0))
        yield f"{rest} bytes left"
        ballast.unlink()

    return on_small_disks(count, place, rng, filled)


def read_only(count, place, rng):
    "Run commands with a read-only disk of runs, cache or predictions (needs root)."

    @contextmanager
    def sealed(folder):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield "is read-only"
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)

    return on_small_disks(count, place, rng, sealed)


def on_small_disks(count, place, rng, spoiled):
    "Run random commands while one of the disks they write to is `spoiled`."
    bench, faults = Bench(place), []
    commands = of_first(bench)
    for number in range(count):
        where, name = rng.choice(WHERE), rng.choice(list(commands))
        with mounted(place / where):
            with spoiled(place / where) as how:
                done = call(*commands[name])
            told = f"{number} {name}, {where} {how}"
            if mistold(done):
                faults.append(f"{told}: {done.stderr[-300:]}")
            faults += bench.faults(told)
    return faults


@contextmanager
def mounted(folder):
    "Mount a small disk at `folder` with its contents; restore the folder afterwards."
    folder.mkdir(exist_ok=True)
    beside = folder.with_name(f"{folder.name}.before")
    folder.rename(beside)
    folder.mkdir()
    size = f"size={SMALL + sum(p.stat().st_size for p in beside.rglob('*'))}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        shutil.copytree(beside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        beside.rename(folder)
