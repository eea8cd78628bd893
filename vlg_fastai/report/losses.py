"""Held-out predictions in, a sheet of the photos that surprised the model most out."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from vlg_fastai.console import printable
from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image
from vlg_fastai.runs import replacing, write_csv

MOST = 24  # photos where no number is given
ACROSS, SIDE = 6, 256  # pictures in a row, pixels of each
MISSING = (200, 200, 200)
WIDE = 30  # characters that fit above a picture


def report(held, folder, data, count):
    "Write top_losses.png and top_losses.csv with the `count` worst photos below `data`; paths."
    worst = np.argsort(-held.losses, kind="stable")[:count]
    table = pd.DataFrame(
        {
            "file": held.files[worst],
            "truth": [held.classes[i] for i in held.y[worst]],
            "prediction": [held.classes[i] for i in held.guess[worst]],
            "loss": held.losses[worst],
            "p_prediction": held.probs[worst].max(1),
            "p_truth": held.probs[worst, held.y[worst]],
        }
    )
    sheet, listing = folder / "top_losses.png", folder / "top_losses.csv"
    write_csv(listing, table)
    draw(table, data, sheet)
    return [sheet, listing]


def draw(table, data, path):
    "A grid of photos, each under its truth, its prediction and their probabilities."
    across = min(ACROSS, len(table))
    down = math.ceil(len(table) / across)
    figure = Figure(figsize=(2.5 * across, 3.15 * down), dpi=100, layout="constrained")
    for i, row in enumerate(table.itertuples()):
        axes = figure.add_subplot(down, across, i + 1)
        axes.imshow(thumbnail(data / row.file))
        axes.axis("off")
        colour = "#1a7f37" if row.truth == row.prediction else "#b3001b"
        told = (
            f"truth: {short(row.truth)} {row.p_truth:.2f}\n"
            f"model: {short(row.prediction)} {row.p_prediction:.2f}\n{short(row.file, tail=True)}"
        )
        axes.set_title(told, fontsize=8.5, color=colour, loc="left", parse_math=False)
    with replacing(path) as beside:
        figure.savefig(beside)


def thumbnail(path):
    "The photo, whole, in a square of `SIDE` pixels; a grey square where it cannot be read."
    try:
        with quiet_decoders():
            photo = read_image(path, SIDE)
    except BrokenImageError:
        return Image.new("RGB", (SIDE, SIDE), MISSING)
    return ImageOps.pad(photo, (SIDE, SIDE), color="white")


def short(text, tail=False):
    "`text` cut to what fits above a picture, keeping its end where `tail`."
    text = printable(text)
    if len(text) <= WIDE:
        return text
    return "…" + text[1 - WIDE :] if tail else text[: WIDE - 1] + "…"
