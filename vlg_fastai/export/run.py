"""Turn finished runs into a folder to hand on: graph, weights, self-test, card and app."""

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.console import muted, say
from vlg_fastai.data import scan
from vlg_fastai.data.augment import BARS
from vlg_fastai.data.folder import found_test
from vlg_fastai.data.store import Store
from vlg_fastai.data.view import View
from vlg_fastai.export import card, graph, hub, likeness, pretrained, samples
from vlg_fastai.export.options import EXPORTED
from vlg_fastai.export.standalone.classifier import Classifier
from vlg_fastai.machine import device
from vlg_fastai.predict import blending
from vlg_fastai.runs.files import check_room, write_json

PARTS = "classifier.py", "selftest.py", "app.py"
CHECKED = 200  # test photos that the graph is compared with predict.py on
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}  # of a probability
PIXELS = "size", "interpolation", "crop_pct", "how"  # of a View: what is done outside the graph
MEGABYTE = 1e6
PLAIN = PredictConfig(device="cpu", precision="fp32", forecast=False, adapt="off")


def export_runs(cfg, chosen):
    "Export the runs `chosen` as `cfg` asks; the path of the folder."
    if cfg.hub:
        hub.check(cfg.hub)
    view = view_of(chosen)
    home = cfg.out or Path("export") / chosen[0].path.name
    check_room(home.absolute().parent, 0, f"--out {home}")
    home.mkdir(parents=True, exist_ok=True)
    means = device.prepare(PLAIN), Store.asked_for(cfg)
    blend = blending.weigh(PredictConfig(), chosen)
    lacking = several(chosen) or pretrained.write(home, chosen[0], means[0])
    if lacking:
        say(f"no model.safetensors in timm's layout: {lacking}")
    told = {"lacking": lacking, **labelled(cfg, home, chosen[0], view)}
    if cfg.onnx:
        told |= with_graph(cfg, home, blend, view, means)
    card.write(home, chosen[0], told)
    say(f"exported to {home}: {sum(f.stat().st_size for f in home.rglob('*')) / MEGABYTE:.0f} MB")
    if cfg.hub:
        hub.upload(home, cfg.hub, cfg.space)
    elif cfg.onnx:
        say(f"try it: pip install -r {home}/requirements.txt && python {home}/app.py")
    return home


def view_of(chosen):
    "The View that all runs share; UserError where one graph cannot take what they are shown."
    views = [View.stored(run.facts.view) for run in chosen]
    for run, view in zip(chosen, views, strict=True):
        odd = [name for name in PIXELS if getattr(view, name) != getattr(views[0], name)]
        if odd:
            pair = f"{chosen[0].called} and {run.called}"
            raise UserError(f"--run: {pair} differ in {odd[0]} of their input; export them apart")
    return views[0]


def several(chosen):
    return f"{len(chosen)} runs are no single timm model" if len(chosen) > 1 else None


def labelled(cfg, home, run, view):
    "Write labels.txt and preprocess.json; {name: value} for the card."
    title = (cfg.hub or run.path.name).rpartition("/")[2]
    classes = run.facts.classes
    (home / "labels.txt").write_text("".join(f"{one}\n" for one in classes), encoding="utf-8")
    precision = "fp16" if cfg.fp16 else "fp32"
    write_json(home / EXPORTED, {
        "name": title, "labels": classes, "size": view.size, "fit": view.how,
        "interpolation": view.interpolation, "crop_pct": view.crop_pct, "bars": list(BARS),
        "prior": run.facts.prior, "tolerance": TOLERANCE[precision], "unlike": likeness.UNLIKE,
    })  # fmt: skip
    return {
        "title": title, "size": view.size, "space": cfg.space, "precision": precision,
        "onnx": False, "likeness": False, "members": 1, "samples": "none",
    }  # fmt: skip


def with_graph(cfg, home, blend, view, means):
    "Write model.onnx and what goes with it, and check it; {name: value} for the card."
    say("exporting the graph")
    module = graph.whole(blend, means[0])
    graph.write(home / "model.onnx", module, view.size, cfg.fp16)
    known = with_likeness(cfg, home, blend.runs[0], module, (view, means))
    for name in PARTS:
        shutil.copyfile(files("vlg_fastai.export.standalone") / name, home / name)
    pins = [f"{name}=={version}\n" for name, version in card.APP.items()]
    (home / "requirements.txt").write_text("".join(pins))
    told = samples.write(cfg, blend.runs[0], home)
    samples.table(home, blend, means)
    check(cfg, home, blend, means)
    leaves = sum(isinstance(one, graph.Leaf) for one in module.modules())
    return {"onnx": True, "likeness": known, "members": leaves, "samples": told}


def with_likeness(cfg, home, run, module, shown):
    "Write likeness.npz; whether it could be made."
    view, means = shown
    path = home / "likeness.npz"
    try:
        found = likeness.statistics(cfg, run, likeness.backbone_of(module), view, means)
    except likeness.LackingError as reason:
        say(f"photos unlike any class are not recognised: {reason}")
        path.unlink(missing_ok=True)
        return False
    np.savez(path, **found)
    return True


def check(cfg, home, blend, means):
    "Compare the graph with predict.py on the samples and on test photos, and report it."
    test = found_test(replace(PLAIN, data=cfg.data), blend.runs[0])
    tables = [scan.scan_files(folder) for folder in (home / "samples", test) if folder]
    photos = pd.concat([one[one["problem"].isna()].head(CHECKED) for one in tables])
    with muted():
        expected, classes = samples.expected(blend, photos.reset_index(drop=True), means)
    classifier = Classifier(home)
    found = np.concatenate([classifier(part)[0] for part in batches(list(photos["path"]))])
    order = [classifier.labels.index(name) for name in classes]
    say_difference(found[:, order], expected, classifier.facts["tolerance"])


def batches(paths, size=16):
    return [paths[i : i + size] for i in range(0, len(paths), size)]


def say_difference(found, expected, tolerance):
    "Report how far the graph's probabilities (n, classes) are from the expected ones."
    largest = float(np.abs(found - expected).max())
    lead = expected.max(1) - expected[np.arange(len(found)), found.argmax(1)]
    other = int((lead > tolerance).sum())
    classes = "the same classes" if not other else f"{other} other classes"
    say(f"checked on {len(found)} photos beside predict.py: {classes}, probabilities differ by"
        f" {largest:.1g} at most")  # fmt: skip
    if other or largest > tolerance:
        say(f"more than the {tolerance:g} that rounding explains: do not use this export")
