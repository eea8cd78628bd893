"""Measure the size and speed of the pages: `python benchmarks/pages.py DATA [WORK]`.

Cuts a challenge from the photos of DATA (train/<class>/*): 40 classes of 200 photos and 3,000 test
photos, random crops, each in its own file. Then runs the commands as a user would, and opens one
page of a run and one of 200 runs in Chromium. Prints one line of JSON.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parents[1]
CLASSES, PHOTOS, TEST, RUNS = 40, 200, 3_000, 200
SIDE = 300  # pixels of a cut photo


def cut(sources, target, count, rng):
    "Write `count` crops of the photos `sources` as files to `target`."
    target.mkdir(parents=True)
    jobs = [(rng.choice(sources), target / f"{i:04d}.jpg", rng.random()) for i in range(count)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: crop(*job), jobs))


def crop(source, target, share):
    photo = Image.open(source).convert("RGB")
    side = int(min(photo.size) * (0.6 + 0.35 * share))
    x, y = (
        int((full - side) * (share * k % 1)) for full, k in zip(photo.size, (7, 13), strict=True)
    )
    photo.crop((x, y, x + side, y + side)).resize((SIDE, SIDE)).save(target, quality=88)


def challenge(data, work):
    rng = random.Random(0)
    folders = sorted(path for path in (data / "train").iterdir() if path.is_dir())
    photos = [sorted(folder.glob("*.jpg")) for folder in folders]
    for k in range(CLASSES):
        of_class = photos[k % len(photos)]
        half = of_class[: len(of_class) // 2] if k < len(photos) else of_class[len(of_class) // 2 :]
        cut(half, work / f"data/train/class{k:02d}", PHOTOS, rng)
    cut([path for of_class in photos for path in of_class], work / "data/test", TEST, rng)


def command(work, script, *options):
    "Seconds that a command takes."
    start = time.monotonic()
    done = subprocess.run([sys.executable, ROOT / script, *options], cwd=work, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return round(time.monotonic() - start, 1)


def opened(path):
    "Seconds until a page is loaded and its charts are drawn."
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        start = time.monotonic()
        page.goto(path.as_uri())
        page.wait_for_selector(".chart .xtick", state="attached")
        seconds = time.monotonic() - start
        browser.close()
    return round(seconds, 2)


def copies(run, root):
    "Write `RUNS` runs whose predictions differ slightly from those of `run`."
    valid, rng = pd.read_csv(run / "valid.csv", dtype={"file": str}), np.random.default_rng(0)
    for number in range(1, RUNS + 1):
        made = root / f"{number:04d}-copy"
        made.mkdir(parents=True)
        for name in ("config.json", "facts.json", "split.csv"):
            shutil.copy(run / name, made / name)
        probs = valid.iloc[:, 2:].to_numpy() * rng.uniform(0.3, 1, (len(valid), CLASSES))
        table = valid.copy()
        table.iloc[:, 2:] = probs / probs.sum(1, keepdims=True)
        table.to_csv(made / "valid.csv", index=False, float_format="%.7g")


def compared(root):
    "(seconds after start-up, total seconds) of a comparison of the runs below `root`."
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2]);"
        "from pathlib import Path;"
        "from vlg_fastai.config import CompareConfig; from vlg_fastai.runs.find import finished;"
        "from vlg_fastai.compare.run import compare;"
        "root = Path(sys.argv[1]); start = time.monotonic();"
        "compare(CompareConfig(runs=root), *finished(root, ()));"
        "print(time.monotonic() - start)"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, root, ROOT], capture_output=True, text=True, check=True
    )
    return round(float(done.stdout.split()[-1]), 2), round(time.monotonic() - start, 2)


def measure(data, work):
    challenge(data, work)
    found = {"classes": CLASSES, "photos": CLASSES * PHOTOS, "test": TEST, "seconds": {}}
    for script, *options in (
        ("train.py", "--data", "data", "--epochs", "0", "--cache", "cache"),
        ("predict.py", "--cache", "cache"),
        ("interpret.py", "--page", "--cache", "cache"),
    ):
        found["seconds"][script] = command(work, script, *options)
    (run,) = (work / "runs").glob("0001-*")
    page = run / "reports/index.html"
    found["page_mb"], found["page_opens"] = round(page.stat().st_size / 1e6, 1), opened(page)
    copies(run, work / "many")
    found["compare_after_start"], found["compare_in_all"] = compared(work / "many")
    found["runs_page_mb"] = round((work / "many/index.html").stat().st_size / 1e6, 1)
    found["runs_page_opens"] = opened(work / "many/index.html")
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    print(json.dumps(measure(Path(sys.argv[1]).resolve(), folder.resolve())))
