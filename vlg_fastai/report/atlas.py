"""Place photos by likeness on the page: points, tiny pictures, numbered clusters of unlike ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.console import drawable
from vlg_fastai.data.neighbours import unit
from vlg_fastai.pages.tiles import Tiles
from vlg_fastai.report import gallery, map
from vlg_fastai.unseen import groups

MOST = 700  # photos per side; as many more of each would add 1 MB to a page and 4 s of t-SNE
PLANE = 1_000  # units of the map's longer side
TRAIN, HELD, TEST, UNLIKE = range(4)  # kinds of points
NEAR = 2  # classes named for a cluster


def atlas(inputs):
    "The values of the page's map, or None where there are no features or too few photos."
    run_features = inputs.run_features
    if run_features is None or len(run_features.shown) < map.FEWEST:
        return None
    table = map.placed(run_features, MOST)
    kinds = kinds_of(table)
    found = clusters(run_features, table, kinds)
    tiles = Tiles.of(table["path"])
    return {
        "points": points(inputs, table, kinds, found),
        "clusters": [one.shown for one in found],
        "kinds": np.bincount(kinds, minlength=4).tolist(),
        "tiles": {"uri": tiles.uri, "side": tiles.side, "across": tiles.across},
    }


def kinds_of(table):
    held, test = table["split"] == "valid", table["side"] == "test"
    kinds = np.select([test & (table["label"] == "unlike"), test, held], [UNLIKE, TEST, HELD])
    return kinds.astype(int)


@dataclass(frozen=True)
class Cluster:
    "Unlike test photos that are alike: rows of the map's table, the middle one first."

    number: int
    rows: np.ndarray
    near: list[str]

    @property
    def shown(self):
        return {"number": self.number, "rows": self.rows.tolist(), "near": self.near}


def clusters(run_features, table, kinds):
    "[Cluster], tightest first."
    rows = np.flatnonzero(kinds == UNLIKE)
    if not len(rows):
        return []
    x = unit(run_features.test[table["row"].to_numpy()[rows]])
    found, distance = groups.alike(x, run_features.seed)
    nearest = (x @ unit(run_features.labelled.x).T).argmax(1)
    labels = run_features.shown["label"].to_numpy()[nearest]
    made = []
    for number in np.unique(found):
        inside = np.flatnonzero(found == number)
        inside = inside[np.argsort(distance[inside], kind="stable")]
        near = pd.Series(labels[inside]).value_counts(sort=True).index[:NEAR]
        made.append(Cluster(int(number) + 1, rows[inside], [drawable(label) for label in near]))
    return made


def points(inputs, table, kinds, found):
    "Columns of the points: place, kind, class number or -1, cluster or 0, file, prediction."
    numbers = {label: i for i, label in enumerate(inputs.held.classes)}
    cluster = np.zeros(len(table), int)
    for one in found:
        cluster[one.rows] = one.number
    low = table[["x", "y"]].min()
    plane = (table[["x", "y"]] - low) / max((table[["x", "y"]].max() - low).max(), 1e-9) * PLANE
    said = dict(answers(inputs))
    return {
        "x": plane["x"].round(1).tolist(), "y": (plane["y"].max() - plane["y"]).round(1).tolist(),
        "kind": kinds.tolist(), "cluster": cluster.tolist(),
        "label": [numbers.get(label, -1) for label in table["label"]],
        "name": [drawable(file) for file in table["file"]],
        "said": [said.get(key, []) for key in zip(table["side"], table["file"], strict=True)],
    }  # fmt: skip


def answers(inputs):
    "Yields ((side, file), [class number or -1, probability]) for held-out and test photos."
    held = inputs.held
    numbers = {label: i for i, label in enumerate(held.classes)}
    for file, k, probs in zip(held.files, held.guess, held.probs, strict=True):
        yield ("train", file), [int(k), round(float(probs.max()), 2)]
    for row in gallery.test_said(inputs).itertuples():
        yield ("test", row.file), [numbers.get(row.category, -1), round(float(row.p), 2)]
