"""Files that are not what their name says: mutated, edited by hand, gone, oddly named."""

import io
import json
import os
import pickle
import resource
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from common import Bench, begun, call, mistold
from PIL import Image

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
SLOW, LARGE = 5.0, 2e9  # seconds per file, peak memory in bytes: more is a fault
SEED = 0
NAMES = (  # of photos and classes, as far as the file system accepts them
    "with space", "ünïcödé", "猫", "a'b\"c", "semi;colon,comma", "new\nline", "-dash", "#hash",
    "100%", "=1+1", "dot.", ".hidden", "x" * 200, "tab\tin", "$HOME", "[a-z]", "\udcff raw",
)  # fmt: skip
EDITED = "facts.json", "config.json", "valid.csv", "split.csv"
RAN = "it ran"


def images(count, place, rng):
    "Read mutated photos of six formats; each gives a photo or a reason, fast, in little memory."
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
            except BaseException as error:  # noqa: BLE001  any other error is a fault
                faults.append(f"{number} {kind}: {type(error).__name__} {error}")
            if time.monotonic() - start > SLOW:
                faults.append(f"{number} {kind}: {time.monotonic() - start:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"images: peak memory {peak / 1e9:.2f} GB")
    return faults + ([f"{peak / 1e9:.1f} GB"] if peak > LARGE else [])


def mutated(content, rng):
    "`content` with bytes changed, removed, doubled or cut off."
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if not made:
            break
        at, many = rng.randrange(len(made)), rng.choice((1, 1, 2, 4, 200))
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


def edits(count, place, rng):
    """Change a run's own files at random, like a slip in an editor, or put weights there that would
    run code; a command must then work or name the error in one line, and other runs stay intact."""
    bench, faults = Bench(place), []
    home = next((place / "runs").glob("0001-*"))
    second = shutil.copytree(home, home.with_name("0002-edited"))
    commands = [
        [*bench.commands()["predict"], "--no-forecast"],
        ["predict.py", "--run", "2", "--no-forecast", *bench.commands()["predict"][1:]],
        bench.commands()["interpret"],
        bench.commands()["compare"],
        [*bench.train, "--epochs", "0", "--config", str(second / "config.json"), "--dry-run"],
    ]
    for number in range(count):
        shutil.rmtree(second)
        shutil.copytree(home, second)
        told = f"{number} {edited(second, rng)}"
        done = call(*rng.choice(commands))
        if mistold(done):
            faults.append(f"{told}: {done.stderr[-300:]}")
        if (place / RAN).exists():
            faults.append(f"{told}: code in a weights file ran")
        faults += bench.faults(told)
    return faults


def edited(run, rng):
    "Change one file of the folder `run`; returns a description of the change."
    name = rng.choice([*EDITED, "model.safetensors"])
    path = run / name
    if name == "model.safetensors":
        code = pickle.dumps(Runs(run.parent.parent / RAN))
        path.write_bytes(rng.choice([code, b"", b"\x08" * 99]))
    elif path.suffix == ".json" and rng.random() < 0.6:
        content = json.loads(path.read_text())
        key = rng.choice(list(content))
        content[key] = rng.choice((None, -1, "", "x", [], {}, 1e308, [[]], True))
        path.write_text(json.dumps(content))
        return f"{name}: {key} is {content[key]!r}"
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))
    return f"{name} mutated"


class Runs:
    "What a pickle from somebody else could do."

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def names(count, place, rng):
    "Photos and classes with odd names: each gets a row, and runs work."
    faults = []
    for number in range(count):
        home = place / str(number)
        bench = Bench(home)
        photos = sorted((bench.data / "train/frog").iterdir())
        for photo, name in zip(photos, rng.sample(NAMES, 6), strict=False):
            _renamed(photo, photo.with_name(f"{name}{photo.suffix}"))
        for photo, name in zip(sorted((bench.data / "test").iterdir()), NAMES, strict=False):
            _renamed(photo, photo.with_name(f"{name}{photo.suffix}"))
        _renamed(bench.data / "train/blue+whale", bench.data / f"train/{rng.choice(NAMES[:11])}")
        tests = sum(not path.name.startswith(".") for path in (bench.data / "test").iterdir())
        for name in ("train", "predict", "interpret", "audit", "compare"):
            done = call(*bench.commands()[name], *(["--epochs", "1"] if name == "train" else []))
            if done.returncode or mistold(done):
                faults.append(f"{number} {name}: {done.stderr[-300:]}")
        rows = len(pd.read_csv(home / "out/t.csv"))
        if rows != tests:
            faults.append(f"{number}: {rows} rows for {tests} photos")
        shutil.rmtree(home)
    return faults


def _renamed(path, to):
    with suppress(OSError):  # longer than the file system accepts
        os.rename(path, to)


def vanishing(count, place, rng):
    "Photos that vanish or change at random moments of a command."
    bench, faults = Bench(place), []
    kept = shutil.copytree(bench.data, place / "kept")
    commands = [bench.commands()[name] for name in ("train", "predict", "audit")]
    for number in range(count):
        shutil.rmtree(place / "cache", ignore_errors=True)
        command = rng.choice(commands)
        with begun(command) as process:
            time.sleep(rng.uniform(2, 9))
            photos = [path for path in bench.data.rglob("*.png") if path.is_file()]
            for photo in rng.sample(photos, 5):
                changed = rng.choice((None, b"no photo", mutated(photo.read_bytes(), rng)))
                photo.unlink() if changed is None else photo.write_bytes(changed)
            error = process.communicate()[1]
        if process.returncode or "Traceback" in error:
            faults.append(f"{number} {command[0]}: {error[-300:]}")
        shutil.rmtree(bench.data)
        shutil.copytree(kept, bench.data)
        faults += bench.faults(f"{number} after {command[0]}")
    return faults
