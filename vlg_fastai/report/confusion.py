"""Write confusion matrix, confused pairs and per-class report of held-out predictions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from vlg_fastai.console import drawable, show
from vlg_fastai.pages import fonts
from vlg_fastai.runs.files import replacing, write_csv

MOST = 10  # confused pairs printed; the file has them all
LARGEST = 60.0  # inches; for more than 170 classes see the CSV
SHORT = 24  # characters of a class name that fit beside the matrix


def write(inputs, count):
    "Write confusion.png, confusion.csv, confused_pairs.csv, per_class.csv; return their paths."
    held, folder = inputs.held, inputs.folder
    counts = confusion_matrix(held.y, held.guess, labels=range(len(held.classes)))
    files = [folder / name for name in ("confusion.csv", "confused_pairs.csv", "per_class.csv")]
    pairs, each = confused_pairs(counts, held.classes), per_class(held)
    matrix = pd.DataFrame(counts, columns=held.classes)
    matrix.insert(0, "truth \\ prediction", held.classes, allow_duplicates=True)
    for path, table in zip(files, (matrix, pairs, each), strict=True):
        write_csv(path, table)
    if len(pairs):
        show("most confused pairs", list(pairs.columns), pairs.head(count).to_numpy())
    picture = folder / "confusion.png"
    with fonts.able(held.classes):
        draw(counts, held.classes, picture)
    return [picture, *files]


def confused_pairs(counts, classes):
    "One row per wrong (truth, prediction) that occurred, most frequent first."
    wrong = counts - np.diag(np.diag(counts))
    at = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: (-wrong[pair], pair))
    rows = [(classes[t], classes[p], wrong[t, p], counts[t].sum()) for t, p in at]
    return pd.DataFrame(rows, columns=["truth", "prediction", "times", "of"])


def per_class(held):
    "Precision, recall, F1 and photos of each class; blank for a class without held-out photos."
    labels = range(len(held.classes))
    figures = precision_recall_fscore_support(held.y, held.guess, labels=labels, zero_division=0)
    table = pd.DataFrame(dict(zip(["precision", "recall", "f1", "photos"], figures, strict=True)))
    table.insert(0, "class", held.classes)
    table.loc[table["photos"] == 0, ["precision", "recall", "f1"]] = np.nan
    return table


def draw(counts, classes, path):
    "Draw the matrix: colour is the share of a row, numbers count photos, 0 stays blank."
    n = len(classes)
    side = min(max(5.0, 2.6 + 0.34 * n), LARGEST)
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [drawable(name) for name in classes]
    names = [name if len(name) <= SHORT else name[: SHORT - 1] + "…" for name in names]
    axes.set_xticks(range(n), names, rotation=90, fontsize=9, parse_math=False)
    axes.set_yticks(range(n), names, fontsize=9, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    right = np.trace(counts) / counts.sum()
    axes.set_title(f"{counts.sum()} held-out photos, {right:.1%} correct", fontsize=11)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e3e3e3", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    for t, p in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[t, p] > 0.45 else "black" if t == p else "#b3001b"
        axes.text(p, t, counts[t, p], ha="center", va="center", color=colour, fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside)
