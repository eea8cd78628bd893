"""Write one page with all that is known about a run: it needs no server and no network."""

from collections import Counter
from dataclasses import fields

import pandas as pd
from sklearn.metrics import confusion_matrix

from vlg_fastai.cli import as_json
from vlg_fastai.config import TrainConfig
from vlg_fastai.console import drawable, say
from vlg_fastai.pages import charts, page
from vlg_fastai.pages.album import Album
from vlg_fastai.report import atlas, cards, confusion, gallery, headline, hero, losses, reliability
from vlg_fastai.report.around import READINGS, Around
from vlg_fastai.runs.facts import called
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.run import HISTORY
from vlg_fastai.unseen.folds import UnavailableError

MOST = losses.MOST  # photos with the worst loss
PAIRS = 12  # confused pairs that have a button


def write(inputs, count):
    "Write index.html; return its path."
    album, (around, lacking) = Album(), surroundings(inputs)
    values = {
        **about_the_run(inputs),
        **about_the_classes(inputs),
        "cards": cards.cards(inputs, count, album, around),
        "readings": READINGS,
        "lacking": lacking,
        "cells": gallery.cells(inputs, album),
        "atlas": atlas.atlas(inputs),
        "gallery": gallery.classes(inputs, album),
        "pictures": album.pictures(),
        "left_out": len(album.left_out),
    }
    values["found"] = Counter(card["reading"] for card in values["cards"])
    told = values["expected"], values["found"], values["pairs"]
    values["hero"] = hero.hero(inputs.run, inputs.held, *told)
    if album.left_out:
        say(f"the page shows {album.most} pictures; {len(album.left_out)} more are left out")
    return [page.write(inputs.folder / "index.html", "run.html", **values)]


def about_the_run(inputs):
    "What the page says about the run as a whole."
    run, forecast = inputs.run, headline.expected(inputs)
    return {
        "run": run.path.name,
        "path": drawable(run.path),
        "facts": run.facts,
        "candidates": [{**row, "model": called(row["model"])} for row in run.facts.candidates],
        "kept": called(run.facts.model),
        "figures": headline.figures(run, inputs.held, forecast),
        "expected": forecast,
        "config": configuration(run),
        "charts": drawn(inputs, forecast),
    }


def about_the_classes(inputs):
    "What it says about classes and the mistakes between them."
    counts, names = confused(inputs)
    said = gallery.test_said(inputs)["category"].map(drawable)
    return {
        "orders": charts.orders(counts),
        "classes": names,
        "mistakes": int(inputs.held.y.size - inputs.held.right.sum()),
        "matrix": len(charts.drawn(counts)),
        "pairs": confusion.confused_pairs(counts, names).head(PAIRS).to_dict("records"),
        "per_class": per_class(inputs, counts),
        "said": said.value_counts().to_dict(),
    }


def confused(inputs):
    "((classes, classes) counts of held-out photos, truth by prediction; class names as shown)."
    held = inputs.held
    counts = confusion_matrix(held.y, held.guess, labels=range(len(held.classes)))
    return counts, list(map(drawable, held.classes))


def surroundings(inputs):
    "(the `Around` of held-out photos, ''), or (None, why there is none)."
    if inputs.run_features is None:
        return None, inputs.lacking
    around = Around(inputs.run_features)
    try:
        around.rank  # noqa: B018  fails here if there are too few photos
    except UnavailableError as reason:
        return None, str(reason)
    return around, ""


def drawn(inputs, forecast):
    "{name: chart} of everything that can be drawn."
    held, facts = inputs.held, inputs.run.facts
    table = reliability.binned(held.probs.max(1), held.right, reliability.MOST, held.groups)
    found = {"reliability": charts.reliability(table)}
    if (inputs.run.path / HISTORY).exists():
        history = read_csv(inputs.run.path / HISTORY).apply(pd.to_numeric, errors="coerce")
        found |= charts.curves(history, facts.candidates, facts.of_epoch)
    if forecast.rows:
        found["likeness"] = charts.likeness(inputs.run_features.evidence)
    return found


def per_class(inputs, counts):
    "One dict per class: precision, recall, F1, photos, and the class it is most confused with."
    held, rows = inputs.held, []
    split = inputs.run.split
    taught = split.loc[split["split"] == "train", "label"].value_counts()
    for k, row in enumerate(confusion.per_class(held).to_dict("records")):
        others = counts[k].copy()
        others[k] = 0
        best = int(others.argmax())
        rows.append({
            **row, "class": drawable(row["class"]), "number": k,
            "train": int(taught.get(row["class"], 0)),
            "taken": f"{drawable(held.classes[best])} ({others[best]})" if others[best] else "",
        })  # fmt: skip
    return rows


def configuration(run):
    "[(option, value, whether it differs from the default)]."
    defaults = as_json(TrainConfig())
    known = {field.name for field in fields(TrainConfig)}
    return [
        (key, drawable("" if value is None else value), key in known and value != defaults[key])
        for key, value in run.config.items()
    ]
