"""Swap test against truth: does its interval hold, and do extra photos pay?

    python benchmarks/extra.py DRAWS [DATA ...]

Without DATA, each draw is a generated challenge of its own, with pictures of its unseen classes
imagined by `generate.py`. With DATA, it is a cut of the photos in DATA/train: a fifth of the
classes is left without photos, a quarter of the photos of every class is repainted and serves as
extra photos, a quarter is the test. The truth of the swap test is the accuracy on photos of the
unseen classes that are taken like the training photos. Beside it: accuracy on the test with extra
photos, without, and with names alone (`--unseen`). Rows are appended to benchmarks/extra.csv as
they come, and existing ones are not computed again.
"""

import csv
import random
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import pandas as pd
from PIL import Image
from styles import STYLES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from vlg_fastai import api  # noqa: E402
from vlg_fastai.demo import challenge  # noqa: E402
from vlg_fastai.demo.animals import picture  # noqa: E402
from vlg_fastai.demo.score import score  # noqa: E402
from vlg_fastai.runs.files import read_csv  # noqa: E402

ROWS = Path(__file__).with_name("extra.csv")
COLUMNS = ["data", "draw", "bad", "swap", "low", "high", "true", "unseen", "unseen_by_names",
           "seen", "seen_without", "kept", "left_out"]  # fmt: skip
DEMO = "demo"
NEW = 40  # new pictures of each unseen class
SPOILED = 5  # draws of the demo that are measured with bad photos and with names as well
HOME, EXTRA = Path("challenge"), Path("extra")
CACHE = Path(tempfile.gettempdir()) / "vlg_fastai_extra"  # cuts show the same photos again


def main(draws=20, *data):
    for name in data or [DEMO]:
        for draw in range(int(draws)):
            for bad in (False, True)[: 1 + (name == DEMO and draw < SPOILED)]:
                if not done(Path(name).name, draw, bad):
                    with tempfile.TemporaryDirectory() as place, chdir(place):
                        add(measured(name, draw, bad))
    report(pd.read_csv(ROWS))


def done(name, draw, bad):
    if not ROWS.exists():
        return False
    rows = pd.read_csv(ROWS)
    return bool(((rows["data"] == name) & (rows["draw"] == draw) & (rows["bad"] == bad)).any())


def measured(name, draw, bad):
    "The row of one draw; with `bad`, half the extra photos of each known class show another one."
    if name == DEMO:
        challenge.draw(HOME, seed=draw)
        api.generate(data=HOME, seed=draw, out=EXTRA)
    else:
        cut(Path(name), random.Random(draw))
    if bad:
        spoil(EXTRA, random.Random(draw))
    common = {"data": HOME, "epochs": 0, "cache": CACHE, "arch": "tf_efficientnet_lite0"}
    plain = api.train(**common)
    run = api.train(extra=(EXTRA,), **common)
    swap, strange = run.facts.extra["swap"], run.facts.extra["strange"]
    table = read_csv(run.path / "extra.csv")
    known = table[~table["label"].isin(strange)]
    with_them, without = (of_test(one, label) for label, one in (("extra", run), ("plain", plain)))
    by_names = name == DEMO and draw < SPOILED
    files = {"unseen": HOME / "unseen.txt", "attributes": HOME / "attributes.csv"}
    names = of_test(plain, "names", **files)["unseen"] if by_names else None
    low, high = swap["accuracy_interval"]
    true = of_new(run, draw) if name == DEMO else with_them["unseen"]
    return {"data": Path(name).name, "draw": draw, "bad": bad, "swap": swap["accuracy"],
            "low": low, "high": high, "true": true, "unseen": with_them["unseen"],
            "unseen_by_names": names, "seen": with_them["seen"], "seen_without": without["seen"],
            "kept": int(known["used"].sum()), "left_out": int((~known["used"]).sum())}  # fmt: skip


def cut(data, rng):
    "A challenge of the photos in `data`/train, and repainted ones beside it as extra photos."
    folders = sorted(path for path in (data / "train").iterdir() if path.is_dir())
    strange = set(rng.sample(folders, max(2, len(folders) // 5)))
    style, truth = rng.choice(sorted(STYLES)), []
    for folder in folders:
        found = sorted(path for path in folder.iterdir() if path.is_file())
        rng.shuffle(found)
        quarter = len(found) // 4
        for i, path in enumerate(found):
            label = folder.name
            if i < quarter:
                place = EXTRA / label / f"{i:04d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                STYLES[style](Image.open(path).convert("RGB"), rng.uniform(0, 0.5)).save(place)
            elif i < 2 * quarter:
                truth.append([f"{label}-{i}{path.suffix}", label, int(folder in strange), 0])
                copy(path, HOME / "test" / truth[-1][0])
            elif folder not in strange:
                copy(path, HOME / "train" / label / path.name)
    place = HOME / "truth/test.csv"
    place.parent.mkdir()
    columns = ["Id", "Category", "unseen", "degraded"]
    pd.DataFrame(truth, columns=columns).to_csv(place, index=False)


def copy(path, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)


def spoil(extra, rng):
    "Replace half the extra photos of each known class by pictures of some other animal."
    for folder in sorted(extra.iterdir()):
        if folder.is_dir() and folder.name in challenge.SEEN:
            for path in sorted(folder.iterdir())[::2]:
                other = rng.choice([name for name in challenge.SEEN if name != folder.name])
                picture(challenge.EVERY[other], rng).save(path, quality=90)


def of_test(run, name, **options):
    "Accuracy on the challenge's own test, by kind of photo."
    out = run.predict(out=Path(f"{name}.csv"), forecast=bool(options), **options)
    return score(out, HOME / "truth/test.csv")


def of_new(run, draw):
    "Accuracy on new pictures of the unseen classes, undegraded."
    place, rng, truth = Path("new"), random.Random(f"new {draw}"), []
    place.mkdir()
    for label in challenge.UNSEEN:
        for number in range(NEW):
            picture(challenge.EVERY[label], rng).save(place / f"{label}-{number}.jpg", quality=90)
            truth.append((f"{label}-{number}.jpg", label))
    run.predict(test=place, out=Path("new.csv"), forecast=False)
    answers = pd.read_csv("new.probabilities.csv").set_index("file")["category"]
    return float((answers[[file for file, _ in truth]].to_numpy() == [t for _, t in truth]).mean())


def add(row):
    new = not ROWS.exists()
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        told = {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}
        writer.writerow(told)


def report(rows):
    for (name, bad), part in rows.groupby(["data", "bad"]):
        held = (part["low"] <= part["true"]) & (part["true"] <= part["high"])
        width = (part["high"] - part["low"]).mean()
        print(f"{name}{', half of them wrong' if bad else ''}: {held.sum()} of {len(part)}"
              f" intervals hold, mean width {width:.3f}")  # fmt: skip
        print(part.mean(numeric_only=True).round(4).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
