"""Compare the speed of ours and plain fastai on the same photos: a table as JSON and Markdown.

    python benchmarks/speed.py DATA [ARCH ...]         # DATA/train/<class>/*, DATA/test/*

Each figure is the median of `ROUNDS` rounds with its range; ours and plain alternate, each in its
own process. Training takes `PER_CLASS` photos of each class, prediction the whole test. Rows on a
GPU (`gpu.py`) are empty where there is none.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import count, repeat
from pathlib import Path

import gpu

HERE = Path(__file__).parent
TRAIN, OURS, PLAIN = HERE.parent / "train.py", HERE / "ours.py", HERE / "plain_fastai.py"
RATE = "photos_per_second"
ROUNDS, PER_CLASS = 3, 16
ARCHS = ("tf_efficientnet_lite0", "convnext_tiny")


def call(script, *arguments):
    "The last line that `script` prints, parsed as JSON, with the seconds it took."
    start = time.monotonic()
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    last = done.stdout.strip().rpartition("\n")[2]
    seconds = time.monotonic() - start
    return {"wall": seconds, **(json.loads(last) if last.startswith("{") else {})}


def part_of(data, scratch):
    "A folder of links to `PER_CLASS` photos of each class and to the whole test."
    for folder in sorted(path for path in (data / "train").iterdir() if path.is_dir()):
        target = scratch / "data/train" / folder.name
        target.mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PER_CLASS]:
            (target / photo.name).symlink_to(photo.resolve())
    (scratch / "data/test").symlink_to((data / "test").resolve())
    return scratch / "data"


def row(what, pairs, higher=True):
    "One row of the table: medians, ranges and the factor by which ours is better."
    ours, plain = (sorted(values) for values in zip(*pairs, strict=True))
    a, b = statistics.median(ours), statistics.median(plain)
    return {
        "what": what,
        "ours": a, "ours_range": [ours[0], ours[-1]],
        "plain": b, "plain_range": [plain[0], plain[-1]],
        "ratio": a / b if higher else b / a,
    }  # fmt: skip


def alone(what, values):
    "A row for a feature that plain fastai lacks."
    values = sorted(values)
    return {"what": what, "ours": statistics.median(values), "ours_range": [values[0], values[-1]]}


def measure(data, archs, scratch):
    "Yield the rows of the table, one at a time."
    small = part_of(data, scratch)
    caches = (scratch / f"cache{number}" for number in count())  # a new one each time
    yield start_up()
    for arch in archs:
        yield from train_rows(small, arch, next(caches))
        yield predict_row(small, arch, "first time", caches)
        yield predict_row(small, arch, "again", repeat(next(caches)))
    yield from probe_rows(data, scratch, caches)
    yield from gpu.rows(call, scratch, small, caches)


def start_up():
    "Seconds from the command to its help; a mistake is reported just as fast."
    helps = [(call(TRAIN, "--help"), call(PLAIN, "help")) for _ in range(ROUNDS)]
    pairs = [(a["wall"], b["wall"]) for a, b in helps]
    return row("start-up: seconds until --help or a mistake is answered", pairs, higher=False)


def train_rows(data, arch, cache):
    "An epoch's rate and peak memory; ours decodes before the epoch, plain fastai during it."
    ours = "train", "strong"
    for what in ours:
        call(OURS, what, data, arch, cache)
    done = [
        (*(call(OURS, what, data, arch, cache) for what in ours), call(PLAIN, "train", data, arch))
        for _ in range(ROUNDS)
    ]
    told = f"train, {arch}, photos decoded before"
    yield row(f"{told}: photos a second", [(a[RATE], c[RATE]) for a, _, c in done])
    strong = [(b[RATE], c[RATE]) for _, b, c in done]
    yield row(f"{told}, --recipe strong against the original: photos a second", strong)
    peaks = [(a["peak_gb"], c["peak_gb"]) for a, _, c in done]
    yield row(f"{told}: peak memory, GB", peaks, higher=False)


def predict_row(data, arch, when, caches):
    "Rate from files to logits, each time with the next of `caches`; `again` fills it first."
    if when == "again":
        call(OURS, "predict", data, arch, next(caches))
    done = [
        (call(OURS, "predict", data, arch, next(caches)), call(PLAIN, "predict", data, arch))
        for _ in range(ROUNDS)
    ]
    pairs = [(a[RATE], b[RATE]) for a, b in done]
    return row(f"predict, {arch}, after the scan, {when}: photos a second", pairs)


def probe_rows(data, scratch, caches):
    "A run without epochs on all photos, by step, and from process start to a usable run."
    arch = ARCHS[0]
    steps = [call(OURS, "probe", data, arch, next(caches)) for _ in range(ROUNDS)]
    for name in ("scan and split", "decode and features", "probe, out of fold and fitted"):
        yield alone(f"--epochs 0, {arch}: seconds of {name}", [s[name] for s in steps])
    walls = {"first time": [], "again": []}
    for _ in range(ROUNDS):
        cache = next(caches)
        for seconds in walls.values():
            options = ("--data", data, "--arch", arch, "--epochs", 0, "--cache", cache)
            seconds.append(call(TRAIN, *options, "--runs", scratch / "runs")["wall"])
    for name, seconds in walls.items():
        yield alone(f"--epochs 0, {arch}, {name}: seconds from process start to the run", seconds)


def markdown(rows):
    lines = ["| | ours | plain fastai | ratio |", "| - | - | - | - |"]
    for r in (r for r in rows if not on_gpu(r)):
        ours, plain = told(r, "ours"), told(r, "plain") if "plain" in r else ""
        lines.append(f"| {r['what']} | {ours} | {plain} | {told_ratio(r)} |")
    on_card = [gpu.markdown(r) for r in rows if on_gpu(r)]
    if on_card:
        lines += ["", "| | ours | plain fastai | timm |", "| - | - | - | - |", *on_card]
    return "\n".join(lines)


def on_gpu(r):
    return r["what"].startswith("GPU")


def told(r, who):
    low, high = r[f"{who}_range"]
    return f"{r[who]:.3g} ({low:.3g} to {high:.3g})"


def told_ratio(r):
    return f"{r['ratio']:.1f}" if "ratio" in r else ""


def main(argv):
    if not argv:
        raise SystemExit(__doc__)
    data, archs = Path(argv[0]), argv[1:] or ARCHS
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SCRATCH"] = scratch
        for r in measure(data, archs, Path(scratch)):
            rows.append(r)
            print(markdown([r]).rpartition("\n")[2], flush=True)
    (HERE / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "speed.md").write_text(markdown(rows) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
