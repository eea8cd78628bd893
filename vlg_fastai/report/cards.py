"""Cards for the worst losses of a run: what the model sees, and similar labelled photos."""

from vlg_fastai.config import UserError
from vlg_fastai.console import drawable, say
from vlg_fastai.report.around import READINGS
from vlg_fastai.report.gallery import Photo, of_scene
from vlg_fastai.report.losses import say_missing


def cards(inputs, count, album, around):
    "One dict per photo for the page's template; without `around`, only what the model shows."
    rows = mistakes(inputs.held, count)
    asked = [[inputs.held.guess[i], inputs.held.y[i]] for i in rows]
    explained = maps(inputs, rows, asked)
    return [
        card(inputs, album, around, i, targets, found)
        for i, targets, found in zip(rows, asked, explained, strict=True)
    ]


def mistakes(held, count):
    "Numbers of the `count` wrong predictions with the highest loss; one of near-duplicates."
    wrong = held.worst[~held.right[held.worst]]
    return held.without_repeats(wrong)[:count]


def maps(inputs, rows, targets):
    "What the model looks at, or None for each photo where its architecture has no maps."
    if not len(rows):
        return []
    paths = inputs.photos(inputs.held.files[rows])
    try:
        explained = inputs.explainer(paths, targets)
    except UserError as error:
        say(str(error))
        return [None] * len(rows)
    say_missing(explained, inputs.data)
    return explained


def card(inputs, album, around, i, targets, found):
    held = inputs.held
    at = around.row.get(held.files[i]) if around else None
    photo = Photo(album.add(inputs.photo(held.files[i])), held.files[i]).shown
    overlays = [album.put(image) for image in found.overlays] if found else [None, None]
    sides = [
        {"words": told, **side(held.classes[k], held.probs[i, k], overlay),
         "near": nearest(around, album, at, k)}
        for told, k, overlay in zip(("prediction", "label"), targets, overlays, strict=True)
    ]  # fmt: skip
    lacking = {"reading": "", "doubt": "", "twins": [], "rank": ""}
    known = lacking if at is None else told_of(around, album, at)
    decided = decided_since(around, at, held.classes[held.y[i]])
    return {
        "photo": photo, "loss": f"{held.losses[i]:.2f}", "sides": sides, "decided": decided,
        **(known | {"reading": ""} if decided else known),  # a decided photo needs no guess
    }  # fmt: skip


def decided_since(around, at, label):
    "What became of a photo that the run was trained on as `label`, if decided otherwise since."
    if around is None:
        return ""
    if at is None:
        return "no longer in use"
    now = around.run_features.shown["label"].iloc[at]
    return f"now labelled {drawable(now)}" if now != label else ""


def side(name, p, overlay):
    "The evidence for one class: its probability and the map."
    told = f"{p:.2f}" if p >= 0.005 else "< 0.01"
    return {"name": drawable(name), "p": told, "map": overlay}


def nearest(around, album, at, label):
    if at is None:
        return []
    return [of_scene(around.run_features, row, album).shown for row in around.nearest(at, label)]


def told_of(around, album, at):
    "What the labelled photos say about the one in row `at`."
    doubt, labels, reading = (
        around.doubt(at),
        around.run_features.shown["label"],
        around.reading(at),
    )
    tag, words = READINGS[reading]
    return {
        "reading": reading, "tag": tag, "words": words,
        "doubt": f"{drawable(doubt[0])} {doubt[1]:.2f}" if doubt else "",
        "twins": [
            {**of_scene(around.run_features, row, album).shown, "label": drawable(labels.iloc[row]),
             "cosine": f"{cosine:.3f}", "other": bool(labels.iloc[row] != labels.iloc[at])}
            for row, cosine in around.twins(at)
        ],
        "rank": f"{around.rank[at]:.0%}",
    }  # fmt: skip
