"""Generate a challenge from a seed, with every difficulty of a real one and the truth beside it."""

import csv
import json
import os
import random
import shutil
from dataclasses import asdict, fields
from io import BytesIO

from PIL import Image, ImageEnhance, ImageFilter

from vlg_fastai.console import say, track
from vlg_fastai.data.folder import DEMO_FOLDER, DEMO_MARK, check_apart, choose, layout, written_by
from vlg_fastai.demo.animals import Species, drawing, picture

FEWEST, MOST = 12, 30  # training pictures per species: as uneven as real collections are
TESTS, UNSEEN_SHARE, DEGRADED_SHARE = 160, 0.3, 0.33
WRONG_SHARE, TWIN_SHARE = 0.05, 0.05  # of the training pictures
INK = "ink"  # folder of a second test, of the same animals in another style
BROKEN = {"broken_1.jpg": b"", "broken_2.jpg": b"\xff\xd8\xff\xe0 the camera fell into the river"}
BROKEN_IN = ("bear", "wolf")

SEEN = {
    "antelope": Species("slim", "plain", "pointed", "thin", "straight", "long", "sand"),
    "bear": Species("stout", "plain", "round", "short", "none", "long", "brown"),
    "bobcat": Species("slim", "spots", "pointed", "short", "none", "long", "rust"),
    "cow": Species("stout", "patches", "floppy", "thin", "straight", "long", "cream"),
    "dachshund": Species("long", "plain", "floppy", "thin", "none", "short", "rust"),
    "deer": Species("slim", "spots", "pointed", "short", "antlers", "long", "rust"),
    "elk": Species("stout", "plain", "pointed", "short", "antlers", "long", "brown"),
    "ferret": Species("long", "patches", "round", "bushy", "none", "short", "sand"),
    "giraffe": Species("tall", "patches", "pointed", "thin", "straight", "long", "sand"),
    "goat": Species("slim", "patches", "floppy", "short", "curled", "long", "grey"),
    "hare": Species("slim", "plain", "long", "short", "none", "long", "grey"),
    "hyena": Species("slim", "stripes", "round", "bushy", "none", "long", "sand"),
    "ibex": Species("slim", "plain", "pointed", "short", "curled", "long", "brown"),
    "leopard": Species("slim", "spots", "round", "thin", "none", "long", "sand"),
    "llama": Species("tall", "plain", "long", "short", "none", "long", "cream"),
    "moose": Species("stout", "plain", "floppy", "short", "antlers", "long", "ink"),
    "mouflon": Species("stout", "patches", "round", "short", "curled", "long", "brown"),
    "okapi": Species("tall", "stripes", "long", "thin", "none", "long", "brown"),
    "panther": Species("slim", "plain", "round", "thin", "none", "long", "ink"),
    "rabbit": Species("stout", "patches", "long", "short", "none", "short", "cream"),
    "skunk": Species("long", "stripes", "round", "bushy", "none", "short", "ink"),
    "squirrel": Species("slim", "plain", "pointed", "bushy", "none", "short", "brown"),
    "tiger": Species("stout", "stripes", "round", "thin", "none", "long", "rust"),
    "wolf": Species("slim", "plain", "pointed", "bushy", "none", "long", "grey"),
}
UNSEEN = {
    "dalmatian": Species("slim", "spots", "floppy", "thin", "none", "long", "cream"),
    "fox": Species("slim", "plain", "pointed", "bushy", "none", "short", "rust"),
    "gerenuk": Species("tall", "plain", "pointed", "thin", "straight", "long", "rust"),
    "ram": Species("stout", "plain", "floppy", "short", "curled", "short", "cream"),
    "reindeer": Species("stout", "patches", "round", "short", "antlers", "long", "grey"),
    "zebra": Species("stout", "stripes", "pointed", "thin", "none", "long", "cream"),
}
EVERY = {**SEEN, **UNSEEN}


def layout_of(cfg):
    "The layout of the --data folder; generates the challenge if it is missing."
    data = choose(cfg.data, cfg)
    if data == DEMO_FOLDER and not data.exists():
        draw(data)
    found = layout(data, written_by(cfg), cfg)
    check_apart(found, cfg)
    return found


def draw(folder, seed=0):
    "Generate the challenge in `folder`; a partial one is never left there, whatever happens."
    say(f"generating a challenge of {len(SEEN)} animals in {folder}")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    rng = random.Random(seed)
    _draw_training(beside, rng)
    _draw_testing(beside, rng, picture)
    _draw_testing(beside / INK, random.Random(f"{INK} {seed}"), drawing)
    _write_tables(beside, seed)
    try:
        beside.rename(folder)
    except OSError:  # another first run was faster: its challenge is the same
        shutil.rmtree(beside)
        if not folder.exists():
            raise


def _draw_training(folder, rng):
    "Uneven classes with some wrong labels, near-duplicates and broken files among them."
    jobs = [name for name in SEEN for _ in range(rng.randint(FEWEST, MOST))]
    numbers = dict.fromkeys(SEEN, 0)
    truth, drawn = [], []
    for name in track(jobs, "generating train", len(jobs)):
        wrong = rng.random() < WRONG_SHARE
        label = rng.choice([other for other in SEEN if other != name]) if wrong else name
        image = picture(SEEN[name], rng)
        path = _next(folder / "train" / label, numbers)
        image.save(path, quality=90)
        drawn.append((path, image, name))
        if wrong:
            truth.append(_fact(path, "wrong_label", name, ""))
    for path, image, name in rng.sample(drawn, round(TWIN_SHARE * len(drawn))):
        twin = _next(path.parent, numbers)
        _twin(image, rng).save(twin, quality=rng.randint(55, 80))
        truth.append(_fact(twin, "duplicate", name, f"{path.parent.name}/{path.name}"))
    for label, (name, content) in zip(BROKEN_IN, BROKEN.items(), strict=True):
        (folder / "train" / label / name).write_bytes(content)
    _write(folder / "truth/train.csv", ["file", "issue", "true_label", "of"], sorted(truth))


def _next(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    numbers[folder.name] += 1
    return folder / f"{numbers[folder.name]:03d}.jpg"


def _fact(path, issue, label, of):
    return [f"{path.parent.name}/{path.name}", issue, label, of]


def _twin(image, rng):
    "The same picture as if posted again online: resized, a little brighter or darker."
    side = round(image.width * rng.uniform(0.75, 1.25))
    return ImageEnhance.Brightness(image.resize((side, side))).enhance(rng.uniform(0.92, 1.08))


def _draw_testing(folder, rng, hand):
    """Pictures of seen and unseen animals in random order, a third of them degraded.

    hand: the function that draws them, such as `picture`.
    """
    (folder / "test").mkdir(parents=True)
    rows = []
    for number in track(range(TESTS), "generating test", TESTS):
        unseen, degraded = rng.random() < UNSEEN_SHARE, rng.random() < DEGRADED_SHARE
        name = rng.choice(list(UNSEEN if unseen else SEEN))
        image = hand(EVERY[name], rng)
        path = folder / "test" / f"{number:04d}.jpg"
        (_degrade(image, rng) if degraded else image).save(path, quality=90)
        rows.append([path.name, name, int(unseen), int(degraded)])
    _write(folder / "truth/test.csv", ["Id", "Category", "unseen", "degraded"], rows)
    first = next(iter(SEEN))
    _write(folder / "sample_submission.csv", ["Id", "Category"], [[row[0], first] for row in rows])


def _degrade(image, rng):
    "Blur, darken, wash out, coarsen or over-compress `image`."
    kind = rng.randrange(5)
    if kind == 0:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 3)))
    if kind == 1:
        return ImageEnhance.Brightness(image).enhance(rng.uniform(0.25, 0.45))
    if kind == 2:
        return ImageEnhance.Contrast(image).enhance(rng.uniform(0.3, 0.5))
    if kind == 3:
        return image.resize((44, 44)).resize(image.size, Image.Resampling.NEAREST)
    file = BytesIO()
    image.save(file, "JPEG", quality=8)
    return Image.open(file)


def _write_tables(folder, seed):
    "Write what a challenge provides besides the pictures, and the mark that identifies our own."
    columns = [field.name for field in fields(Species)]
    rows = [[name, *asdict(species).values()] for name, species in EVERY.items()]
    _write(folder / "attributes.csv", ["class", *columns], rows)
    (folder / "unseen.txt").write_text("\n".join(UNSEEN) + "\n")
    (folder / DEMO_MARK).write_text(json.dumps({"seed": seed}))


def _write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
