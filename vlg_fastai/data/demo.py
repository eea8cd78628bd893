"""Seed in, a small drawn challenge out: animals in train and test, with a sample submission."""

import csv
import json
import math
import os
import random
import shutil
from dataclasses import asdict, dataclass

from PIL import Image, ImageDraw, ImageFilter

from vlg_fastai.console import say, track
from vlg_fastai.data.folder import DEMO_MARK

SIDE = 160  # pixels of a finished picture
DRAWN = 2 * SIDE  # drawn twice as large and reduced, which smooths the edges
TESTS = 120
FEWEST, MOST = 18, 40  # training pictures of a kind: as uneven as real collections are
MEADOWS = ((176, 205, 140), (224, 212, 170), (196, 216, 230), (208, 196, 186), (150, 182, 150))
DARK = (40, 34, 30)


@dataclass(frozen=True)
class Species:
    "What all animals of a kind share."

    coat: tuple[int, int, int]
    pattern: str  # plain, stripes or spots
    ears: str  # round, pointed or long
    tail: str  # short, thin or bushy
    horns: bool
    long_neck: bool


BROWN, GREY, SAND, RUST, CREAM, INK = (
    (139, 98, 66), (130, 134, 140), (214, 180, 120), (190, 96, 50), (236, 226, 206), (70, 66, 72),
)  # fmt: skip
SPECIES = {
    "antelope": Species(SAND, "plain", "pointed", "thin", True, False),
    "bear": Species(BROWN, "plain", "round", "short", False, False),
    "cow": Species(CREAM, "spots", "round", "thin", True, False),
    "fox": Species(RUST, "plain", "pointed", "bushy", False, False),
    "giraffe": Species(SAND, "spots", "pointed", "thin", True, True),
    "hare": Species(GREY, "plain", "long", "short", False, False),
    "leopard": Species(SAND, "spots", "round", "thin", False, False),
    "llama": Species(CREAM, "plain", "pointed", "short", False, True),
    "panther": Species(INK, "plain", "round", "thin", False, False),
    "skunk": Species(INK, "stripes", "round", "bushy", False, False),
    "tiger": Species(RUST, "stripes", "round", "thin", False, False),
    "zebra": Species(CREAM, "stripes", "pointed", "thin", False, False),
}


def draw(folder, seed=0):
    "Draw the challenge into `folder`; half a drawing never lies there, whatever happens."
    say(f"drawing a small challenge into {folder}")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    rng = random.Random(seed)
    jobs = [*_training(beside, rng), *_testing(beside, rng)]
    for path, species in track(jobs, "drawing", len(jobs)):
        path.parent.mkdir(parents=True, exist_ok=True)
        animal(species, rng).save(path, quality=90)
    _write_sample(beside)
    kinds = {name: asdict(species) for name, species in SPECIES.items()}
    (beside / DEMO_MARK).write_text(json.dumps({"seed": seed, "species": kinds}, indent=1))
    try:
        beside.rename(folder)
    except OSError:  # another first run was quicker: its drawing is the same
        shutil.rmtree(beside)
        if not folder.exists():
            raise


def _training(folder, rng):
    for name, species in SPECIES.items():
        for number in range(rng.randint(FEWEST, MOST)):
            yield folder / "train" / name / f"{number:03d}.jpg", species


def _testing(folder, rng):
    for number in range(TESTS):
        yield folder / "test" / f"{number:04d}.jpg", rng.choice(list(SPECIES.values()))


def _write_sample(folder):
    with (folder / "sample_submission.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["Id", "Category"])
        rows.writerows([f"{number:04d}.jpg", next(iter(SPECIES))] for number in range(TESTS))


def animal(species, rng):
    "One picture: an animal of `species` in a pose, size, place and light of its own."
    picture = _meadow(rng)
    coat = tuple(min(255, max(0, c + rng.randint(-14, 14))) for c in species.coat)
    layer = _figure(species, coat, rng)
    if rng.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = layer.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)
    size = round(DRAWN * rng.uniform(0.7, 1.05))
    layer = layer.resize((size, size), Image.Resampling.BICUBIC)
    at = [rng.randint(min(0, DRAWN - size), max(0, DRAWN - size)) for _ in range(2)]
    picture.paste(layer, tuple(at), layer)
    light = rng.uniform(0.75, 1.2)
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small.point(lambda value: min(255, int(value * light)))


def _meadow(rng):
    "Sky and ground with a horizon and a few soft bushes."
    sky, ground = rng.sample(MEADOWS, 2)
    picture = Image.new("RGB", (DRAWN, DRAWN), sky)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, rng.randint(DRAWN // 3, 2 * DRAWN // 3), DRAWN, DRAWN), fill=ground)
    for _ in range(rng.randint(2, 6)):
        x, y, r = rng.randint(0, DRAWN), rng.randint(DRAWN // 3, DRAWN), rng.randint(10, 50)
        shade = tuple(c - rng.randint(10, 40) for c in ground)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=shade)
    return picture.filter(ImageFilter.GaussianBlur(3))


def _figure(species, coat, rng):
    "The animal alone, seen from its left side, on a transparent square."
    layer = Image.new("RGBA", (DRAWN, DRAWN))
    pen = ImageDraw.Draw(layer)
    dark = tuple(int(c * 0.7) for c in coat)
    head = (70, 62) if species.long_neck else (74, 118)
    _tail(pen, species.tail, coat, dark)
    for x in (108, 130, 196, 218):
        lean = rng.randint(-10, 10)
        pen.line((x, 190, x + lean, 272), fill=dark, width=17)
    _ears(pen, species.ears, head, dark)
    if species.horns:
        _horns(pen, head)
    pen.line((112, 160, head[0] + 10, head[1] + 8), fill=coat, width=40)
    body = (88, 124, 244, 214)
    pen.ellipse(body, fill=coat)
    _coat(layer, body, species.pattern, CREAM if sum(coat) < 300 else DARK, rng)
    pen.ellipse((head[0] - 34, head[1] - 28, head[0] + 32, head[1] + 28), fill=coat)
    pen.ellipse((head[0] - 46, head[1] - 8, head[0] - 10, head[1] + 24), fill=coat)
    pen.ellipse((head[0] - 46, head[1], head[0] - 36, head[1] + 10), fill=DARK)
    pen.ellipse((head[0] - 10, head[1] - 14, head[0] + 1, head[1] - 3), fill=DARK)
    return layer


def _tail(pen, kind, coat, dark):
    if kind == "bushy":
        pen.ellipse((222, 70, 274, 176), fill=dark)
        pen.ellipse((232, 62, 268, 96), fill=CREAM)
    elif kind == "thin":
        pen.arc((214, 90, 290, 190), 300, 130, fill=coat, width=9)
        pen.ellipse((232, 176, 252, 198), fill=dark)
    else:
        pen.ellipse((232, 138, 262, 166), fill=CREAM if sum(coat) < 560 else coat)


def _ears(pen, kind, head, dark):
    x, y = head
    if kind == "round":
        pen.ellipse((x - 16, y - 46, x + 12, y - 18), fill=dark)
        pen.ellipse((x + 8, y - 42, x + 36, y - 14), fill=dark)
    elif kind == "pointed":
        pen.polygon([(x - 12, y - 20), (x - 4, y - 58), (x + 12, y - 22)], fill=dark)
        pen.polygon([(x + 6, y - 20), (x + 24, y - 54), (x + 30, y - 12)], fill=dark)
    else:
        pen.ellipse((x - 12, y - 100, x + 8, y - 14), fill=dark)
        pen.ellipse((x + 10, y - 96, x + 30, y - 10), fill=dark)


def _horns(pen, head):
    x, y = head
    for start in (x - 6, x + 14):
        pen.arc((start - 30, y - 84, start + 10, y - 10), 300, 80, fill=CREAM, width=8)


def _coat(layer, body, pattern, color, rng):
    "Stripes or spots, cut to the ellipse of the body."
    marks = Image.new("RGBA", layer.size)
    pen = ImageDraw.Draw(marks)
    if pattern == "stripes":
        for x in range(body[0] + rng.randint(8, 20), body[2], 26):
            pen.line((x, body[1], x + rng.randint(-14, 6), body[3]), fill=color, width=10)
    elif pattern == "spots":
        for turn in range(26):
            x = rng.randint(body[0], body[2])
            y = (body[1] + body[3]) / 2 + 40 * math.sin(turn * 2.4)
            r = rng.randint(6, 12)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
    shape = Image.new("L", layer.size)
    ImageDraw.Draw(shape).ellipse(body, fill=255)
    layer.paste(
        marks, (0, 0), Image.composite(marks.getchannel("A"), Image.new("L", layer.size), shape)
    )
