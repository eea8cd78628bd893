"""Draw a map on which photos that the backbone finds alike lie side by side."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vlg_fastai.console import drawable, say
from vlg_fastai.data.neighbours import unit
from vlg_fastai.pages import fonts
from vlg_fastai.runs.files import replacing, write_csv
from vlg_fastai.unseen.folds import UnavailableError

MOST = 3_000  # photos per side
FEWEST = 5  # photos that t-SNE can lay out
AXES, PERPLEXITY = 50, 30  # principal components used; neighbours that count
SHORT = 18  # characters of a class name
COLUMNS = ["file", "side", "label", "x", "y"]  # of map.csv


def write(inputs, count):
    "Write map.png and map.csv with at most `count` photos per side; return their paths."
    table = placed(inputs.run_features, count)
    write_csv(inputs.folder / "map.csv", table[COLUMNS])
    with fonts.able(inputs.run_features.spec.classes):
        draw(table, inputs.folder / "map.png")
    return [inputs.folder / "map.png", inputs.folder / "map.csv"]


def placed(run_features, count):
    """A table of at most `count` photos per side: `COLUMNS`, path, split, and the row among the
    photos of its side. The label of a test photo is `unlike` or blank."""
    rng = np.random.default_rng(run_features.seed)
    sides = [
        np.sort(rng.permutation(len(x))[:count]) for x in (run_features.shown, run_features.asked)
    ]
    x = run_features.labelled.x[sides[0]]
    if len(sides[1]):
        x = np.concatenate([x, run_features.test[sides[1]]])
    say(f"laying out {len(x)} photos")
    places = lay_out(unit(x), run_features.seed)
    known = run_features.shown[["file", "path", "label", "split"]].iloc[sides[0]]
    asked = run_features.asked[["file", "path"]].iloc[sides[1]]
    known, asked = known.assign(side="train"), asked.assign(side="test", split="test")
    asked["label"] = np.where(unlike_any(run_features)[sides[1]], "unlike", "")
    table = pd.concat([known, asked], ignore_index=True)
    return table.assign(x=places[:, 0], y=places[:, 1], row=np.concatenate(sides))


def unlike_any(run_features):
    "(m,) True for test photos less like any class than 95 % of the known ones, if that is known."
    try:
        evidence = run_features.evidence
    except UnavailableError:  # no test photos, or too few photos of any kind
        return np.zeros(len(run_features.asked), bool)
    return evidence.test[:, 0] < evidence.threshold()


def lay_out(x, seed=0):
    "(n, 2) positions of features `x` (n, d): t-SNE (van der Maaten & Hinton, 2008) of `AXES` axes."
    flat = PCA(min(AXES, *x.shape), random_state=seed).fit_transform(x)
    near = min(PERPLEXITY, (len(x) - 1) / 3)
    return TSNE(perplexity=near, init="pca", random_state=seed).fit_transform(flat)


def draw(table, path):
    "Draw training photos in the colour of their class, named at its median; test photos on top."
    figure = Figure(figsize=(12, 12), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    train, test = (table[table["side"] == side] for side in ("train", "test"))
    labels = sorted(train["label"].unique())
    colour = dict(zip(labels, colormaps["hsv"](np.linspace(0, 0.95, len(labels))), strict=True))
    axes.scatter(train["x"], train["y"], s=9, alpha=0.55, linewidths=0,
                 color=[colour[label] for label in train["label"]])  # fmt: skip
    for unlike, face, words in ((False, "none", "test"), (True, "black", "test, unlike any class")):
        part = test[(test["label"] == "unlike") == unlike]
        axes.scatter(part["x"], part["y"], s=13, facecolors=face, edgecolors="black",
                     linewidths=0.5, alpha=0.8, label=f"{words} ({len(part)})")  # fmt: skip
    for label in labels:
        place = train.loc[train["label"] == label, ["x", "y"]].median()
        name = drawable(label)
        name = name if len(name) <= SHORT else name[: SHORT - 1] + "…"
        axes.text(*place, name, ha="center", va="center", fontsize=10, weight="bold",
                  color=0.55 * np.array(colour[label][:3]), parse_math=False,
                  path_effects=[withStroke(linewidth=3, foreground="white")])  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{len(train)} training photos (dots) and {len(test)} test photos (circles),"
                   " placed by similarity in the frozen backbone")  # fmt: skip
    axes.legend(loc="lower right")
    with replacing(path) as beside:
        figure.savefig(beside)
