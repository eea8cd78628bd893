"""Draw a sheet of the held-out photos that surprised the model most."""

import numpy as np
import pandas as pd

from vlg_fastai.console import say
from vlg_fastai.pages import sheet
from vlg_fastai.runs.files import write_csv

MOST = 24  # photos by default


def write(inputs, count):
    """Write top_losses.png and top_losses.csv with the `count` worst photos; return their paths.

    Each photo is shown beside the Grad-CAM maps of the predicted class and of its label.
    """
    held, data = inputs.held, inputs.data
    rows, table = worst(held, count)
    picture, listing = (inputs.folder / f"top_losses.{kind}" for kind in ("png", "csv"))
    write_csv(listing, table)
    paths = inputs.photos(table["file"])
    explained = inputs.explainer(paths, np.stack([held.guess[rows], held.y[rows]], axis=1))
    say_missing(explained, data)
    cells = [cell(*pair) for pair in zip(table.itertuples(), paths, explained, strict=True)]
    title = "photo | evidence for the model's prediction | evidence for the label"
    sheet.draw(cells, picture, title=title)
    return [picture, listing]


def worst(held, count):
    """(numbers of the `count` photos with the worst loss, a table of their predictions).

    Of near-duplicates only the worst is shown: the others would say the same again.
    """
    rows = held.without_repeats(held.worst)[:count]
    table = pd.DataFrame(
        {
            "file": held.files[rows],
            "truth": [held.classes[i] for i in held.y[rows]],
            "prediction": [held.classes[i] for i in held.guess[rows]],
            "loss": held.losses[rows],
            "p_prediction": held.probs[rows].max(1),
            "p_truth": held.probs[rows, held.y[rows]],
        }
    )
    return rows, table


def cell(row, path, explained):
    "Photo, map of the prediction and map of the truth, with both probabilities below."
    colour = sheet.RIGHT if row.truth == row.prediction else sheet.WRONG
    lines = [
        f"model: {row.prediction} {row.p_prediction:.2f}",
        f"label: {row.truth} {row.p_truth:.2f}",
        row.file,
    ]
    return sheet.Cell(pictures(path, explained, 2), lines, colour)


def pictures(path, explained, maps):
    "The photo and its `maps` overlays, or a grey placeholder each where it was not explained."
    if explained is None:
        return [sheet.thumbnail(path)] * (1 + maps)
    return [explained.photo, *explained.overlays]


def say_missing(explained, data):
    missing = sum(found is None for found in explained)
    if missing:
        say(f"{missing} of {len(explained)} photos are not in {data} and stay grey; set --data")
