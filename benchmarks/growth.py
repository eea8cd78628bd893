"""How time, memory and disk grow with photos: 1,000, 10,000 and 100,000 generated ones.

    python benchmarks/growth.py [COUNT ...]

Small files (64 px, 40 classes) are scanned, decoded and run through the bundled backbone at 64 px,
and a probe is fitted out of fold: `train.py --epochs 0`, first time and again, then `audit.py`.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
CLASSES, SIDE = 40, 64


def draw(folder, count):
    "Generate `count` noisy pictures in `CLASSES` colours."
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (CLASSES, 3))
    for label in range(CLASSES):
        (folder / "train" / f"{label:02d}").mkdir(parents=True)
    for i in range(count):
        coarse = rng.integers(-40, 40, (8, 8, 3)) + colours[i % CLASSES]
        image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE))
        image.save(folder / "train" / f"{i % CLASSES:02d}" / f"{i:06d}.jpg", quality=85)
    return folder


def run(script, data, scratch, *more):
    "Run one command: (seconds, peak memory of all processes so far in GB)."
    options = ["--data", data, "--size", 64, "--arch", "tf_efficientnet_lite0", *more]
    options += ["--cache", scratch / "cache"]
    start = time.monotonic()
    command = [sys.executable, str(HERE.parent / script), *map(str, options)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return seconds, peak


def measure(count):
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = draw(scratch / "data", count)
        train = "train.py", data, scratch, "--epochs", 0, "--runs", scratch / "runs"
        (first, peak), (again, _) = run(*train), run(*train)
        audit, audit_peak = run("audit.py", data, scratch, "--out", scratch / "audit")
        kept = {
            kind: sum(f.stat().st_size for f in scratch.glob(f"cache/{kind}-*/*")) / 1e6
            for kind in ("features", "pixels")
        }
    found = {"photos": count, "first": first, "again": again, "peak_gb": peak, **kept}
    return {**found, "audit": audit, "audit_peak_gb": audit_peak}


def main(argv):
    columns = ["photos", "first time, s", "again, s", "peak, GB", "features, MB", "pixels, MB"]
    print("| " + " | ".join([*columns, "audit, s", "peak, GB"]) + " |")
    print("| - | - | - | - | - | - | - | - |")
    rows = []
    for count in map(int, argv or (1000, 10_000, 100_000)):  # the peak covers all runs so far
        r = measure(count)
        rows.append(r)
        print("| " + " | ".join(f"{value:.3g}" for value in r.values()) + " |", flush=True)
    (HERE / "growth.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
