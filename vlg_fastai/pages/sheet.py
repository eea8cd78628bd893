"""Draw captioned pictures as a grid in one image."""

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image, ImageOps

from vlg_fastai.console import drawable
from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image
from vlg_fastai.pages import fonts
from vlg_fastai.runs.files import replacing

SIDE = 224  # pixels of a picture's side on a sheet
MISSING = (200, 200, 200)
RIGHT, WRONG = "#1a7f37", "#b3001b"
WIDE = 30  # characters that fit above a picture


@dataclass(frozen=True)
class Cell:
    "Pictures side by side under a few lines of text."

    pictures: list
    lines: list
    colour: str = "black"


def draw(cells, path, across=6, title=None):
    "Write `cells` as a grid to `path`, at most `across` pictures in a row."
    with fonts.able([title or "", *(line for cell in cells for line in cell.lines)]):
        _draw(cells, path, across, title)


def _draw(cells, path, across, title):
    wide = max(len(cell.pictures) for cell in cells)
    columns = max(1, min(across // wide, len(cells)))
    down = math.ceil(len(cells) / columns)
    high = 2.3 + 0.16 * max(len(cell.lines) for cell in cells)
    size = (2.4 * wide * columns, high * down + (0.4 if title else 0))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    for i, cell in enumerate(cells):
        axes = figure.add_subplot(down, columns, i + 1)
        axes.imshow(beside(cell.pictures))
        axes.axis("off")
        text = "\n".join(short(line, WIDE * wide) for line in cell.lines)
        axes.set_title(text, fontsize=8.5, color=cell.colour, loc="left", parse_math=False)
    with replacing(path) as file:
        figure.savefig(file)


def beside(pictures):
    "Square pictures in a row with a thin white line between them."
    strip = Image.new("RGB", ((SIDE + 4) * len(pictures) - 4, SIDE), "white")
    for i, picture in enumerate(pictures):
        strip.paste(picture.resize((SIDE, SIDE)), (i * (SIDE + 4), 0))
    return strip


def thumbnail(path):
    "The whole photo padded to a square of `SIDE` pixels; a grey square if it is unreadable."
    try:
        with quiet_decoders():
            photo = read_image(path, SIDE)
    except BrokenImageError:
        return Image.new("RGB", (SIDE, SIDE), MISSING)
    return ImageOps.pad(photo, (SIDE, SIDE), color="white")


def short(text, width):
    "`text` cut to `width` characters; of a path the end is kept, which is more telling."
    text = drawable(text)
    if len(text) <= width:
        return text
    return "…" + text[1 - width :] if "/" in text else text[: width - 1] + "…"
