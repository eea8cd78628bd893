"""Swap test against truth: does its interval hold, on drawn challenges, and do extra photos pay?

    python benchmarks/extra.py [DRAWS]

Each draw is a challenge of its own, with pictures of its unseen classes imagined by `generate.py`.
The truth of the swap test is the accuracy on new pictures of these classes, taken like the training
photos. Beside it, on the challenge's own test: accuracy on photos of unseen classes with extra
photos, and with names alone (`--unseen`). Rows are appended to benchmarks/extra.csv as they come,
and existing ones are not computed again.
"""

import csv
import random
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from vlg_fastai import api  # noqa: E402
from vlg_fastai.demo import challenge  # noqa: E402
from vlg_fastai.demo.animals import picture  # noqa: E402
from vlg_fastai.demo.score import score  # noqa: E402
from vlg_fastai.runs.files import read_csv  # noqa: E402

ROWS = Path(__file__).with_name("extra.csv")
COLUMNS = ["draw", "bad", "swap", "low", "high", "true", "unseen", "unseen_by_names", "seen",
           "seen_without", "kept", "left_out"]  # fmt: skip
SPOILED = 5  # draws that are measured with bad photos and with names as well
NEW = 40  # new pictures of each unseen class


def main(draws=20):
    for draw in range(draws):
        for bad in (False, True)[: 1 + (draw < SPOILED)]:
            if not done(draw, bad):
                with tempfile.TemporaryDirectory() as place, chdir(place):
                    add(measured(draw, bad))
    report(pd.read_csv(ROWS))


def done(draw, bad):
    if not ROWS.exists():
        return False
    rows = pd.read_csv(ROWS)
    return bool(((rows["draw"] == draw) & (rows["bad"] == bad)).any())


def measured(draw, bad):
    "The row of one draw; with `bad`, half the extra photos of each known class show another one."
    home = Path("challenge")
    challenge.draw(home, seed=draw)
    extra = api.generate(data=home, seed=draw, out=Path("extra"))
    if bad:
        spoil(extra, random.Random(draw))
    common = {"data": home, "epochs": 0, "cache": Path("cache")}
    plain = api.train(**common)
    run = api.train(extra=(extra,), **common)
    swap = run.facts.extra["swap"]
    table = read_csv(run.path / "extra.csv")
    known = table[~table["label"].isin(challenge.UNSEEN)]
    by_names = {"unseen": home / "unseen.txt", "attributes": home / "attributes.csv"}
    told = {name: of_test(one, name) for name, one in (("extra", run), ("plain", plain))}
    told["names"] = of_test(plain, "names", **by_names) if draw < SPOILED else {"unseen": None}
    low, high = swap["accuracy_interval"]
    return {"draw": draw, "bad": bad, "swap": swap["accuracy"], "low": low, "high": high,
            "true": of_new(run, draw), "unseen": told["extra"]["unseen"],
            "unseen_by_names": told["names"]["unseen"], "seen": told["extra"]["seen"],
            "seen_without": told["plain"]["seen"], "kept": int(known["used"].sum()),
            "left_out": int((~known["used"]).sum())}  # fmt: skip


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
    return score(out, Path("challenge/truth/test.csv"))


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
    for bad, part in rows.groupby("bad"):
        held = (part["low"] <= part["true"]) & (part["true"] <= part["high"])
        width = (part["high"] - part["low"]).mean()
        print(f"{'half of them wrong' if bad else 'as imagined'}: {held.sum()} of {len(part)}"
              f" intervals hold, mean width {width:.3f}")  # fmt: skip
        print(part.mean(numeric_only=True).round(4).to_string())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
