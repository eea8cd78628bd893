"""What faults cost: kills, resumes, files that are no photos, a disk that takes nothing more.

    python benchmarks/faults.py [kills 200] [resumes 100] [images 10000] [disk 50] [hours 20]

Without arguments all five with these numbers, which takes about three hours on two cores. Ends with
one line each: how many, and what went wrong. A process that is killed is a whole command, with
reading processes and a cache of its own that the next one finds; the disk is one on which no file
may grow beyond a random size (RLIMIT_FSIZE). Nothing here may end in a traceback.
"""

import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

from conftest import draw_folder, run_training  # noqa: E402

COUNTS = {"kills": 200, "resumes": 100, "images": 10_000, "disk": 50, "hours": 20}
ARCH = "tf_efficientnet_lite0"
NET = ["--arch", ARCH, "--size", "64", "--bs", "8", "--epochs", "6"]
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
SLOW, LARGE = 5.0, 2e9  # seconds for a file, bytes at the peak: more is a fault
SEED = 0
LOAD = """import random, sys, time
rng = random.Random(int(sys.argv[1]))
while True:
    end = time.monotonic() + rng.uniform(0, 12)
    while time.monotonic() < end:
        pass
    time.sleep(rng.uniform(0, 12))
"""


def main(words):
    asked = dict(zip(words[::2], map(int, words[1::2]), strict=True)) or COUNTS
    for what, count in asked.items():
        with tempfile.TemporaryDirectory() as place:
            start = time.monotonic()
            faults = CAMPAIGNS[what](count, Path(place), random.Random(SEED))
            told = "; ".join(faults[:5]) or "none"
            seconds = round(time.monotonic() - start)
            print(f"{what}: {count} in {seconds} s, faults: {len(faults)} ({told})", flush=True)


def kills(count, place, rng):
    "Kill random commands at random moments; the next one must work and say what it said before."
    data = draw_folder(place / "data", {"frog": 16, "blue+whale": 14, "höhlen bär": 12})
    own = ["--runs", str(place / "runs"), "--cache", str(place / "cache")]
    first = ["train.py", "--data", str(data), *own, *NET, "--epochs", "0"]
    check(call(*first))
    ask = ["predict.py", "--run", "1", "--no-forecast", *own, "--out", str(place / "out/s.csv")]
    check(call(*ask))
    expected = (place / "out/probabilities.csv").read_bytes()
    commands = {
        "train": ["train.py", "--data", str(data), *own, *NET, "--workers", "2"],
        "resume": ["train.py", *own, "--resume", "last"],
        "predict": ["predict.py", *own, "--out", str(place / "out/t.csv")],
        "audit": ["audit.py", "--data", str(data), *own[2:], "--out", str(place / "audit")],
        "interpret": ["interpret.py", *own, "--confusion", "--top-losses"],
    }
    faults = []
    for number in range(count):
        name = rng.choice(list(commands))
        if rng.random() < 0.2:  # with nothing kept, so that all of the work is there to be killed
            shutil.rmtree(place / "cache", ignore_errors=True)
        killed(commands[name], rng.uniform(2, 16))
        done = call(*ask)
        if done.returncode or "Traceback" in done.stderr:
            faults.append(f"{number} {name}: {done.stderr[-200:]}")
        elif (place / "out/probabilities.csv").read_bytes() != expected:
            faults.append(f"{number} {name}: other probabilities than before")
        faults += [f"{number} {name}: process {left} is left" for left in leftovers(place)]
    newest = call("predict.py", *own, "--out", str(place / "out/u.csv"))
    return faults + ([f"at the end: {newest.stderr[-200:]}"] if newest.returncode else [])


def killed(command, seconds):
    words = [sys.executable, str(ROOT / command[0]), *command[1:]]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, **quiet) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def leftovers(place, patience=15):
    "Processes that still name `place` in their command line after so many seconds."
    end = time.monotonic() + patience
    while (found := _naming(place)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _naming(place):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if str(place) in path.read_text(errors="replace") else []
        except OSError:  # it has just ended
            continue
    return found


def resumes(count, place, rng):
    "Break off runs of several kinds at random batches; each must go on to the whole run's end."
    import pytest
    from test_resuming import EVERY, PLANS, config, going_on, killed_at, left, stopped

    data, faults, whole = (
        draw_folder(place / "data", {"frog": 18, "blue+whale": 12, "höhlen bär": 14}),
        [],
        {},
    )
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


def images(count, place, rng):
    "Read mutated photos of six formats; each is a photo or a reason, soon and in little memory."
    from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image

    whole, faults = {}, []
    noise = np.random.default_rng(SEED)
    for kind in FORMATS:
        pixels = noise.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((240, 180)).save(file := io.BytesIO(), kind)
        whole[kind] = file.getvalue()
    with quiet_decoders():
        for number in range(count):
            kind = rng.choice(FORMATS)
            content, start = mutated(whole[kind], rng), time.monotonic()
            try:
                read_image(content, 64)
            except BrokenImageError:
                pass
            except BaseException as error:  # noqa: BLE001  whatever else comes is the fault
                faults.append(f"{number} {kind}: {type(error).__name__} {error}")
            if time.monotonic() - start > SLOW:
                faults.append(f"{number} {kind}: {time.monotonic() - start:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"images: peak memory {peak / 1e9:.2f} GB")
    return faults + ([f"{peak / 1e9:.1f} GB"] if peak > LARGE else [])


def mutated(content, rng):
    "`content` with bytes changed, cut off, doubled or put elsewhere."
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if not made:
            break
        at = rng.randrange(len(made))
        many = rng.choice((1, 1, 2, 4, 200))
        kind = rng.randrange(5)
        if kind == 0:
            made[at] = rng.randrange(256)
        elif kind == 1:
            made[at : at + many] = rng.choice((b"\xff", b"\x00", b"\x7f")) * many
        elif kind == 2:
            del made[at : at + many]
        elif kind == 3:
            made[at:at] = made[at : at + many]
        else:
            made = made[: max(at, 1)]
    return bytes(made)


def disk(count, place, rng):
    "Let no file grow beyond a random size: one line that names the target, and all as it was."
    data = draw_folder(place / "data", {"frog": 16, "blue+whale": 14, "höhlen bär": 12})
    own = ["--runs", str(place / "runs"), "--cache", str(place / "cache")]
    check(call("train.py", "--data", str(data), *own, *NET, "--epochs", "0"))
    out = ["--out", str(place / "out/s.csv")]
    commands = (
        ["train.py", "--data", str(data), *own, *NET],
        ["predict.py", "--run", "1", *own, *out],
        ["interpret.py", "--run", "1", *own, "--confusion"],
        ["audit.py", "--data", str(data), *own[2:], "--out", str(place / "audit")],
    )
    faults = []
    for number in range(count):
        command, most = rng.choice(commands), int(10 ** rng.uniform(2, 7.5))
        done = call(*command, most=most)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        if "Traceback" in done.stderr or (done.returncode and len(lines) != 1):
            faults.append(f"{number} {command[0]} {most}: {done.stderr[-200:]}")
        after = call("predict.py", "--run", "1", "--no-forecast", *own, *out)
        if after.returncode:
            faults.append(f"{number} after {command[0]} {most}: {after.stderr[-200:]}")
    return faults


def hours(count, place, rng):
    "Train against limits of one to three minutes while other work comes and goes."
    from vlg_fastai.demo import challenge

    challenge.draw(place / "data", seed=0)
    own = ["--data", place / "data", "--cache", place / "cache", "--arch", ARCH, "--size", 64]
    faults, unused = [], []
    for number in range(count):
        limit, runs = rng.uniform(60, 180), place / f"runs{number}"
        start, load = time.monotonic(), subprocess.Popen([sys.executable, "-c", LOAD, str(number)])
        words = ["--recipe", "strong", "--epochs", 200, "--hours", limit / 3600, "--runs", runs]
        done = call("train.py", *map(str, own), *map(str, words))
        spent = time.monotonic() - start
        load.kill()
        load.wait()
        history = pd.read_csv(next(runs.glob("*/history.csv")))
        spare = (limit - spent) / history["seconds"].iloc[-3:].max()
        unused.append(spare)
        told = f"{number}: {spent:.0f} of {limit:.0f} s, {len(history)} epochs, {spare:.2f} unused"
        print(told, flush=True)
        if done.returncode or spent > limit or spare > 1.15:
            faults.append(told)
    return faults


def call(*command, most=None):
    "The command, run to its end; most: bytes that none of its files may exceed."

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # or it is a kill, not a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    words = [sys.executable, str(ROOT / command[0]), *command[1:]]
    given = {"capture_output": True, "text": True, "check": False, "errors": "replace"}
    return subprocess.run(words, preexec_fn=limit if most else None, env=os.environ, **given)


def check(done):
    if done.returncode:
        sys.exit(done.stderr[-2000:])


CAMPAIGNS = {"kills": kills, "resumes": resumes, "images": images, "disk": disk, "hours": hours}

if __name__ == "__main__":
    main(sys.argv[1:])
