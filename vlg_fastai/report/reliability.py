"""Draw whether the confidence of held-out predictions can be trusted."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlg_fastai.model.intervals import interval
from vlg_fastai.model.scores import ece
from vlg_fastai.runs.files import replacing, write_csv

MOST = 10  # bins of confidence
COLUMNS = ["from", "to", "photos", "confidence", "accuracy", "low", "high"]
BLUE, GREY = "#0072B2", "#8c8c8c"


def write(inputs, count):
    "Write reliability.png and reliability.csv: accuracy by confidence, in bins; return the paths."
    held = inputs.held
    table = binned(held.probs.max(1), held.right, count, held.groups)
    picture, listing = (inputs.folder / f"reliability.{kind}" for kind in ("png", "csv"))
    write_csv(listing, table)
    draw(table, len(held.y), ece(held.probs, held.y), picture)
    return [picture, listing]


def binned(confidence, right, bins, groups=None):
    "One row per non-empty bin of equal width: its edges, figures, 95 % interval."
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for i in np.unique(at):
        inside = at == i
        likely = interval(right[inside], None if groups is None else groups[inside])
        edges, sure = (i / bins, (i + 1) / bins), confidence[inside].mean()
        rows.append((*edges, int(inside.sum()), sure, right[inside].mean(), *likely))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(table, photos, error, path):
    "Draw accuracy over confidence with 95 % intervals, above the number of photos per bin."
    figure = Figure(figsize=(5.5, 6), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    upper.text(0.98, 0.03, "above the line: under-confident\nbelow: over-confident", ha="right",
               color="#555555")  # fmt: skip
    spread = np.abs(table[["low", "high"]].sub(table["accuracy"], axis=0)).to_numpy().T
    upper.errorbar(table["confidence"], table["accuracy"], spread, fmt="o-", color=BLUE, capsize=3)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.set_title(f"{photos} held-out photos, calibration error {error:.3f}", fontsize=11)
    width = (table["to"] - table["from"]) * 0.9
    lower.bar(table["from"], table["photos"], width, align="edge", color=BLUE, alpha=0.6)
    lower.set(xlabel="confidence", ylabel="photos")
    with replacing(path) as beside:
        figure.savefig(beside)
