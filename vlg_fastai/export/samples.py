"""Write photos for the self-test, without names or EXIF, and what predict.py predicts for them."""

import random
import re

import numpy as np
import pandas as pd
from PIL import Image

from vlg_fastai.config import PredictConfig
from vlg_fastai.data import folder, listing, scan
from vlg_fastai.data.images import BrokenImageError, read_image
from vlg_fastai.demo.animals import picture
from vlg_fastai.demo.challenge import SEEN
from vlg_fastai.predict import known
from vlg_fastai.runs.files import write_csv

SIDE = 512  # pixels of the short side that a sample has at most
QUALITY = 90


def write(cfg, run, home):
    """Write up to `cfg.samples` held-out photos of `run`, or generated pictures, to `home`/samples;
    what they are, in words.

    They are encoded anew, which drops EXIF, and numbered, which drops names.
    """
    photos = [] if generated(cfg) else held_out(cfg, run)
    (home / "samples").mkdir(exist_ok=True)
    for number, image in enumerate(photos or drawn(cfg.samples), 1):
        bare = Image.fromarray(np.asarray(image))  # without comments, which Pillow would keep
        bare.save(home / f"samples/{number:02d}.jpg", quality=QUALITY)
    if not photos:
        return "generated pictures, no photo of the data set"
    return f"{len(photos)} held-out photos of the data set"


def of_others(home):
    "Names in `home`/samples that `write` did not write."
    folder = home / "samples"
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in there if not re.fullmatch(r"\d{2,}\.jpg|\.DS_Store", name)]


def generated(cfg):
    "Whether the samples must not show the user's photos: what is uploaded, unless asked for."
    return bool((cfg.hub or cfg.space) and not cfg.with_samples)


def held_out(cfg, run):
    "Images of held-out photos, one of each class in turn; [] where they are missing."
    photos = listing.of_run(run, folder.of_run(cfg, run))
    there = photos[(photos["split"] == "valid") & photos["path"].map(lambda path: path.is_file())]
    mixed = there.sample(frac=1, random_state=run.config["seed"])
    turns = mixed.assign(turn=mixed.groupby("label").cumcount()).sort_values("turn", kind="stable")
    images = []
    for path in turns["path"]:
        if len(images) == cfg.samples:
            break
        try:
            images.append(small(read_image(path, SIDE)))
        except BrokenImageError:
            continue
    return images


def small(image):
    image.thumbnail((2 * SIDE, 2 * SIDE))
    return image


def drawn(count):
    rng = random.Random(0)
    species = list(SEEN.values())
    return [picture(species[i % len(species)], rng) for i in range(count)]


def expected(blend, photos, means):
    """(n, classes) probabilities that predict.py gives the table `photos`, without adapting: those
    that the graph must give."""
    cfg = PredictConfig(forecast=False, adapt="off", cache="off")
    answered = [known.answers(run, photos, cfg, means) for run in blend.runs]
    return blend.mixed(answered, known.average)


def table(home, blend, means):
    "Write samples.csv: each sample with the expected probability of each class."
    photos = scan.scan_files(home / "samples")
    probs, classes = expected(blend, photos, means)
    files = [path.relative_to(home).as_posix() for path in photos["path"]]
    rows = pd.DataFrame(np.round(probs, 7), columns=classes)
    rows.insert(0, "file", files, allow_duplicates=True)
    write_csv(home / "samples.csv", rows)
    return len(rows)
