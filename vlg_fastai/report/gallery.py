"""Choose the held-out, training and test photos that the page shows of each class and mistake."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.console import drawable
from vlg_fastai.data.neighbours import unit
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.run import TEST

TYPICAL, WORST, TEST_SHOWN = 4, 4, 3  # photos of a class: typical, worst, surest and least sure
CELLS = 1_500  # pictures after which cells get no more: the classes need some too
RIGHT = 12  # photos with a picture in a cell of correct predictions: the least sure ones


@dataclass(frozen=True)
class Photo:
    "A picture's number in the album (None: none), the photo's name, the caption below it."

    picture: int | None
    name: str
    told: str = ""

    @property
    def shown(self):
        return {"picture": self.picture, "name": drawable(self.name), "told": drawable(self.told)}


def cells(inputs, album):
    "{'truth/prediction': photos of that cell}; surest mistakes and least sure correct ones first."
    held, found = inputs.held, {}
    sure = held.probs.max(1)
    wrong = held.y != held.guess
    for i in np.lexsort((np.where(wrong, -sure, sure), ~wrong)):  # mistakes get pictures first
        kept = found.setdefault(f"{held.y[i]}/{held.guess[i]}", [])
        room = len(album.sources) < CELLS and (wrong[i] or len(kept) < RIGHT)
        picture = album.add(inputs.photo(held.files[i])) if room else None
        kept.append(Photo(picture, held.files[i], f"confidence {sure[i]:.2f}").shown)
    return found


def classes(inputs, album):
    "One dict per class: its name, and rows of photos with a heading each."
    said = test_said(inputs)
    return [
        {"name": drawable(name), "rows": [row for row in (
            ("typical in training", typical(inputs, album, k)),
            ("worst loss, held out", worst(inputs, album, k)),
            *test_photos(inputs, album, said[said["category"] == name]),
        ) if row[1]]}
        for k, name in enumerate(inputs.held.classes)
    ]  # fmt: skip


def typical(inputs, album, k):
    "The training photos nearest to the mean of class number `k`."
    if inputs.run_features is None:
        return []
    shown, labelled = inputs.run_features.shown, inputs.run_features.labelled
    rows = np.flatnonzero((labelled.y == k) & (shown["split"] == "train").to_numpy())
    if not len(rows):
        return []
    x = unit(labelled.x[rows])
    near = rows[np.argsort(-(x @ x.mean(0)), kind="stable")]
    first = np.sort(np.unique(labelled.groups[near], return_index=True)[1])  # no near-duplicates
    near = near[first[:TYPICAL]]
    return [of_scene(inputs.run_features, row, album).shown for row in near]


def of_scene(run_features, row, album, told=""):
    "The Photo of a labelled photo, by its row."
    at = run_features.shown.iloc[row]
    return Photo(album.add(at["path"]), at["file"], told)


def worst(inputs, album, k):
    held = inputs.held
    rows = held.worst[held.y[held.worst] == k][:WORST]
    return [
        Photo(album.add(inputs.photo(held.files[i])), held.files[i],
              f"predicted {held.classes[held.guess[i]]} {held.probs[i].max():.2f}").shown
        for i in rows
    ]  # fmt: skip


def test_said(inputs):
    "The last predictions of predict.py on the test photos with this run; empty if there are none."
    path = inputs.run.path / TEST
    columns = ["file", "content", "category", "p"]
    said = (
        read_csv(path) if inputs.run_features and path.exists() else pd.DataFrame(columns=columns)
    )
    if inputs.run_features is None or "content" not in said:
        return pd.DataFrame(columns=[*columns, "path"])
    there = inputs.run_features.asked[["file", "content", "path"]]
    return said[columns].merge(there, on=["file", "content"])


def test_photos(inputs, album, said):
    "The test photos predicted as this class: the surest, and the least sure."
    order = said.sort_values("p", ascending=False, kind="stable")
    rows = [
        ("test predictions, surest", order.head(TEST_SHOWN)),
        ("least sure", order.iloc[TEST_SHOWN:].tail(TEST_SHOWN)),
    ]
    return [
        (f"{words} of {len(said)}", [
            Photo(album.add(row.path), row.file, f"{row.p:.2f}").shown for row in part.itertuples()
        ])
        for words, part in rows
    ]  # fmt: skip
