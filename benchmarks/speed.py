"""Ours against plain fastai on the same photos, in one run: a table as JSON and Markdown.

    python benchmarks/speed.py DATA [ARCH ...]         # DATA/train/<class>/*, DATA/test/*

Each figure is the median of `ROUNDS` rounds with its range, ours and plain by turns, each in a
process of its own. Training takes `PER_CLASS` photos of each class, prediction all of the test.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS, PER_CLASS = 3, 16
ARCHS = ("tf_efficientnet_lite0", "convnext_tiny")


def call(script, *arguments):
    "What `script` prints as its last line, read as JSON, with the seconds it took."
    start = time.monotonic()
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    last = done.stdout.strip().rpartition("\n")[2]
    seconds = time.monotonic() - start
    return {"wall": seconds, **(json.loads(last) if last.startswith("{") else {})}


def part_of(data, scratch):
    "A folder of `PER_CLASS` photos of each class and all of the test, as links."
    for folder in sorted(path for path in (data / "train").iterdir() if path.is_dir()):
        target = scratch / "data/train" / folder.name
        target.mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PER_CLASS]:
            (target / photo.name).symlink_to(photo.resolve())
    (scratch / "data/test").symlink_to((data / "test").resolve())
    return scratch / "data"


def rounds(ours, plain, key):
    "[(ours, plain)] of `ROUNDS` rounds, one after the other."
    return [(ours()[key], plain()[key]) for _ in range(ROUNDS)]


def row(what, pairs, higher=True):
    "One row of the table: medians, ranges and the ratio by which ours is better."
    ours, plain = (sorted(values) for values in zip(*pairs, strict=True))
    a, b = statistics.median(ours), statistics.median(plain)
    return {
        "what": what,
        "ours": a, "ours_range": [ours[0], ours[-1]],
        "plain": b, "plain_range": [plain[0], plain[-1]],
        "ratio": a / b if higher else b / a,
    }  # fmt: skip


def alone(what, values):
    "A row of what plain fastai has not."
    values = sorted(values)
    return {"what": what, "ours": statistics.median(values), "ours_range": [values[0], values[-1]]}


def measure(data, archs, scratch):
    "Yield the rows of the table, one at a time."
    small, fresh = part_of(data, scratch), iter(range(10**6))
    cold = lambda: scratch / f"cache{next(fresh)}"  # noqa: E731
    helped = rounds(
        lambda: call(HERE.parent / "train.py", "--help"),
        lambda: call(HERE / "plain_fastai.py", "help", small, archs[0]),
        "wall",
    )
    yield row("start-up: seconds until --help or a mistake is answered", helped, higher=False)
    for arch in archs:
        for command, key in (("train", "photos_per_second"), ("predict", "photos_per_second")):
            kept = scratch / f"kept-{arch}"
            for name, cache in (("first time", cold), ("again", lambda kept=kept: kept)):
                if command == "train" and name == "first time":
                    continue
                ours = lambda c=command, a=arch, k=cache: call(HERE / "ours.py", c, small, a, k())  # noqa: E731
                if name == "again":
                    ours()
                plain = lambda c=command, a=arch: call(HERE / "plain_fastai.py", c, small, a)  # noqa: E731
                pairs = [(ours(), plain()) for _ in range(ROUNDS)]
                # an epoch's rate holds no decoding, and a prediction's no scan: said in the row
                told = f"{command}, {arch}, " + (
                    f"after the scan, {name}" if command == "predict" else "photos decoded before"
                )
                yield row(f"{told}: photos a second", [(a[key], b[key]) for a, b in pairs])
                if command == "train":
                    peaks = [(a["peak_gb"], b["peak_gb"]) for a, b in pairs]
                    yield row(f"{told}: peak memory, GB", peaks, higher=False)
    yield from probe_rows(data, scratch, cold)


def probe_rows(data, scratch, cold):
    "A run without epochs on all photos, step by step, and from process start to a usable run."
    arch = ARCHS[0]
    steps = [call(HERE / "ours.py", "probe", data, arch, cold()) for _ in range(ROUNDS)]
    for name in ("scan and split", "decode and features", "probe, out of fold and fitted"):
        yield alone(f"--epochs 0, {arch}: seconds of {name}", [s[name] for s in steps])
    walls = {"first time": [], "again": []}
    for _ in range(ROUNDS):
        cache = cold()
        for seconds in walls.values():
            options = ("--data", data, "--arch", arch, "--epochs", 0, "--cache", cache)
            done = call(HERE.parent / "train.py", *options, "--runs", scratch / "runs")
            seconds.append(done["wall"])
    for name, seconds in walls.items():
        yield alone(f"--epochs 0, {arch}, {name}: seconds from process start to the run", seconds)


def markdown(rows):
    lines = ["| | ours | plain fastai | ratio |", "| - | - | - | - |"]
    for r in rows:
        ours, plain = told(r, "ours"), told(r, "plain") if "plain" in r else ""
        lines.append(f"| {r['what']} | {ours} | {plain} | {told_ratio(r)} |")
    return "\n".join(lines)


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
