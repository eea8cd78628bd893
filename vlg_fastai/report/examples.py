"""Draw sheets of what the model looks at in held-out or chosen photos."""

import numpy as np

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import loaders
from vlg_fastai.data.images import readable
from vlg_fastai.model import inference
from vlg_fastai.pages import sheet
from vlg_fastai.report.losses import pictures, say_missing

MOST = None  # by default one of each class, or
FEWEST, LARGEST = 24, 100  # photos if there are fewer classes; no more than that unasked
NAMED = 8  # classes named that are not shown
BEST = 3  # classes explained for a chosen photo


def write(inputs, count):
    "Write gradcam.png: for each class in turn, the held-out photos that the model is surest of."
    held = inputs.held
    classes = np.unique(held.y)
    chosen = one_class_at_a_time(held, count or min(max(FEWEST, len(classes)), LARGEST))
    say_left_out(held, chosen)
    paths = inputs.photos(held.files[chosen])
    explained = inputs.explainer(paths, held.guess[chosen][:, None])
    say_missing(explained, inputs.data)
    cells = []
    for i, path, found in zip(chosen, paths, explained, strict=True):
        truth, said = held.classes[held.y[i]], held.classes[held.guess[i]]
        colour = sheet.RIGHT if truth == said else sheet.WRONG
        lines = [f"model: {said} {held.probs[i].max():.2f}", f"label: {truth}", held.files[i]]
        cells.append(sheet.Cell(pictures(path, found, 1), lines, colour))
    path = inputs.folder / "gradcam.png"
    sheet.draw(cells, path, title="photo | evidence for the model's prediction")
    return [path]


def say_left_out(held, chosen):
    "Report the classes of which gradcam.png shows no photo, and why."
    asked = {"have no held-out photo": np.setdiff1d(range(len(held.classes)), held.y),
             f"are left out (--gradcam {len(np.unique(held.y))} shows them)":
                 np.setdiff1d(held.y, held.y[chosen])}  # fmt: skip
    for why, left in asked.items():
        names = ", ".join(held.classes[k] for k in left[:NAMED]) + ", ..." * (len(left) > NAMED)
        if len(left):
            say(f"gradcam.png: {len(left)} of {len(held.classes)} classes {why}: {names}")


def one_class_at_a_time(held, count):
    "Numbers of `count` held-out photos: each class's surest, then each one's second, ..."
    sure = np.argsort(-held.probs.max(1), kind="stable")
    turn = {}
    rank = np.empty(len(sure), dtype=int)
    for i in sure:
        rank[i] = turn[held.y[i]] = turn.get(held.y[i], -1) + 1
    return np.lexsort((held.y, rank))[:count]


def report_images(files, folder, explainer):
    "Write images.png: the photos `files` beside the evidence for their `BEST` likeliest classes."
    paths = [path for path in files if readable(path)]
    for path in set(files) - set(paths):
        say(f"{path}: cannot be read as a photo; left out")
    if not paths:
        raise UserError("--images: none of these files can be read as a photo")
    spec, machine = explainer.spec, explainer.machine
    z = inference.logits(explainer.model, loaders.plain(paths, spec.view, 16, machine), machine)
    best = np.argsort(-z, axis=1, kind="stable")[:, : min(BEST, len(spec.classes))]
    cells = []
    for path, found, likely in zip(paths, explainer(paths, best), best, strict=True):
        if found is None:  # removed since it was checked
            continue
        told = [f"{spec.classes[k]} {found.probs[k]:.2f}" for k in likely]
        cells.append(sheet.Cell([found.photo, *found.overlays], [" | ".join(told), str(path)]))
    sheet.draw(cells, folder / "images.png", across=8, title="photo | likeliest classes in turn")
    return [folder / "images.png"]
