"""Config in, finished run folder out."""

import dataclasses
import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from fastai.torch_core import set_seed

from vlg_fastai import __version__, device, runs
from vlg_fastai.cli import as_json
from vlg_fastai.console import clock, say
from vlg_fastai.data import demo, folder, loaders, scan, split
from vlg_fastai.model import backbone, bundle, inference, learner, scores, sources

FEW = 8  # classes, and photos of each, that a dry run takes
PACKAGES = ("torch", "torchvision", "fastai", "fastcore", "timm", "numpy", "pandas", "pillow")


def train(cfg, source):
    "Do the run that `cfg` asks for, from the weights of `source`; returns its Run."
    start = time.monotonic()
    machine = device.prepare(cfg)
    cfg, table = photos(cfg, source)
    card = describe(cfg, source, table)
    learn = prepare(cfg, source, table, card, machine)
    run = open_run(cfg, source, table)
    say(f"{run.path}: {source.arch} ({weights_in_words(source)}), {words(card, machine)}")
    outcome = fit(learn, cfg, run)
    bundle.save(run, learn.model)  # before anything else can go wrong
    card, figures = evaluate(run, learn.model, table, card, (machine, cfg.bs))
    runs.write_json(
        run.path / runs.FACTS,
        {**outcome, **card.facts(), **figures, **circumstances(source, machine, start)},
    )
    report(run, figures, outcome, time.monotonic() - start)
    return run


def photos(cfg, source):
    "(cfg with data and arch settled, table of all files with label, group and split)."
    data = folder.choose(cfg.data)
    if data == folder.DEMO_FOLDER and not data.exists():
        demo.draw(data)
    layout = folder.layout(data)
    if layout.is_demo:
        say(
            f"using the drawn challenge in {data}, with --arch {source.arch} --size {cfg.size}"
            f" --epochs {cfg.epochs}; no hub is asked"
        )
    scanned = scan.scan_classes(layout, FEW if cfg.dry_run else None)
    scan.check(scanned)
    scan.report(scanned)
    table = split.assign(scanned, cfg.valid_pct, cfg.seed)
    split.report(table)
    return dataclasses.replace(cfg, data=layout.root.resolve(), arch=source.arch), table


def open_run(cfg, source, table):
    "The new run folder, with what was asked and how the photos were split."
    run = runs.create(cfg.runs, cfg.name or sources.base_name(source.arch))
    runs.write_json(run.path / runs.CONFIG, as_json(cfg))
    split.save(table, run.path / runs.SPLIT)
    return run


def describe(cfg, source, table):
    "The card of the model to be trained."
    labels = table.loc[table["split"] == "train", "label"]
    shares = labels.value_counts(normalize=True).sort_index()
    view = backbone.view(source.arch, cfg.size, cfg.crop_pct)
    return bundle.Card(source.arch, cfg.head, list(shares.index), view, shares.tolist())


def prepare(cfg, source, table, card, machine):
    "The Learner over the photos of `table`, with every random number drawn from the seed."
    set_seed(cfg.seed, reproducible=True)  # before the loaders: they draw a seed when made
    used = table[table["split"] != "unused"]
    dls = loaders.build(used, card.classes, card.view, machine, cfg)
    return learner.build(dls, source, cfg, machine)


def fit(learn, cfg, run):
    "The fit that `cfg` asks for; a dry run makes it short and says so in its status."
    if not cfg.dry_run:
        return learner.fit(learn, cfg, run.path / runs.HISTORY)
    short = {"epochs": min(cfg.epochs, 2), "freeze_epochs": min(cfg.freeze_epochs, 1)}
    outcome = learner.fit(learn, dataclasses.replace(cfg, **short), run.path / runs.HISTORY)
    status = "dry run" if outcome["status"] == "finished" else outcome["status"]
    return {**outcome, "status": status}


def evaluate(run, model, table, card, means):
    "(card with temperature, figures): predict the held-out photos, calibrate, keep, score."
    machine, bs = means
    valid = table[table["split"] == "valid"]
    y = np.array([card.classes.index(label) for label in valid["label"]], dtype=int)
    z = np.zeros((0, len(card.classes)))
    if len(valid):
        dl = loaders.plain(valid["path"], card.view, bs, machine)
        z = inference.logits(model, dl, machine, what="scoring")
    temperature = inference.fit_temperature(z, y)
    before, after = (inference.probabilities(z, t) for t in (1.0, temperature))
    kept = pd.DataFrame(after, columns=card.classes, index=valid.index)
    runs.write_csv(run.path / runs.VALID, pd.concat([valid[["file", "label"]], kept], axis=1))
    figures = scores.summary(before, after, y, card.classes)
    counts = table["split"].value_counts().to_dict()
    return dataclasses.replace(card, temperature=temperature), {**figures, "photos": counts}


def weights_in_words(source):
    return {
        "hub": "weights from the hub",
        "cache": "weights from the hub's cache",
        "bundled": "bundled ImageNet weights",
        "file": f"weights of {source.file}",
        "nothing": "no trained weights",
    }[source.kind]


def words(card, machine):
    return f"{len(card.classes)} classes, {card.view.size} px, {machine.device} {machine.precision}"


def circumstances(source, machine, start):
    "Where the weights came from, how long it took, and on what."
    return {
        "weights": {"from": source.kind, "file": source.file and source.file.name},
        "seconds": round(time.monotonic() - start, 1),
        "device": str(machine.device),
        "precision": machine.precision,
        "workers": machine.workers,
        "versions": versions(),
        "platform": platform.platform(),
        "git": revision(),
        "command": sys.argv,
    }


def versions():
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"vlg_fastai": __version__, "python": platform.python_version(), **found}


def revision():
    "The commit of this code, or None where it is no checkout or git is absent."
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def report(run, figures, outcome, seconds):
    "Say how good the run is, how sure that is, and where it lies."
    held_out = figures["photos"].get("valid", 0)
    if figures["accuracy"] is None:
        say("no validation photos: the run has no score")
    else:
        say(
            f"validation: accuracy {figures['accuracy']:.4f} +- {error_of(figures, held_out):.4f}"
            f" on {held_out} photos, macro-F1 {figures['macro_f1']:.4f},"
            f" NLL {figures['nll']:.4f}, ECE {figures['ece_before']:.3f} -> {figures['ece']:.3f}"
        )
    best = outcome["best_epoch"]
    say(f"{outcome['status']} in {clock(seconds)}, best epoch {best}: run saved in {run.path}")


def error_of(figures, n):
    "Standard error of the accuracy on `n` photos."
    return (figures["accuracy"] * (1 - figures["accuracy"]) / n) ** 0.5
