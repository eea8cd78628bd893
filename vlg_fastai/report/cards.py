"""The worst losses of a run in, a card for each out: what the model sees, and what lies around."""

from vlg_fastai.config import UserError
from vlg_fastai.console import printable, say
from vlg_fastai.report.around import READINGS
from vlg_fastai.report.gallery import Photo, of_scene
from vlg_fastai.report.losses import worst


def cards(given, count, album, around):
    "One dict a photo for the page's template; without `around` only what the model itself tells."
    rows, table = worst(given.held, count)
    explained = maps(given, rows)
    return [
        card(given, album, around, row, found)
        for row, found in zip(table.itertuples(), explained, strict=True)
    ]


def maps(given, rows):
    "What the model looks at, or nothing where its kind has no maps."
    held = given.held
    paths = [given.data / file for file in held.files[rows]]
    targets = [[held.guess[i], held.y[i]] for i in rows]
    try:
        return given.explainer(paths, targets)
    except UserError as error:
        say(str(error))
        return [None] * len(rows)


def card(given, album, around, row, found):
    at = around.row.get(row.file) if around else None
    photo = Photo(album.add(given.data / row.file), row.file).shown
    overlays = [album.put(image) for image in found.overlays] if found else [None, None]
    sides = [
        side(name, p, picture, nearest(around, album, at, given.held.classes.index(name)))
        for name, p, picture in (
            (row.prediction, row.p_prediction, overlays[0]), (row.truth, row.p_truth, overlays[1]),
        )
    ]  # fmt: skip
    known = {"reading": "", "doubt": "", "twins": [], "rank": ""}
    return {
        "photo": photo, "loss": f"{row.loss:.2f}", "right": row.truth == row.prediction,
        "model": sides[0], "label": sides[1],
        **(known if at is None else told(around, album, at)),
    }  # fmt: skip


def side(name, p, overlay, near):
    "What speaks for one class: its probability, the map, the nearest training photos."
    return {
        "name": printable(name),
        "p": f"{p:.2f}" if p >= 0.005 else "< .01",
        "map": overlay,
        "near": near,
    }


def nearest(around, album, at, label):
    if at is None:
        return []
    return [of_scene(around.scene, row, album).shown for row in around.nearest(at, label)]


def told(around, album, at):
    "What the labelled photos say of the one in row `at`."
    doubt, labels, reading = around.doubt(at), around.scene.shown["label"], around.reading(at)
    tag, words = READINGS[reading]
    return {
        "reading": reading, "tag": tag, "words": words,
        "doubt": f"{printable(doubt[0])} {doubt[1]:.2f}" if doubt else "",
        "twins": [
            {**of_scene(around.scene, row, album).shown, "label": printable(labels.iloc[row]),
             "cosine": f"{cosine:.3f}", "other": bool(labels.iloc[row] != labels.iloc[at])}
            for row, cosine in around.twins(at)
        ],
        "rank": f"{around.rank[at]:.0%}",
    }  # fmt: skip
