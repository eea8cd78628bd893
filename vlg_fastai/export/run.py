"""Turn finished runs into a folder to hand on: graph, weights, self-test, card and app."""

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.console import muted, say
from vlg_fastai.data import listing, scan
from vlg_fastai.data.augment import BARS
from vlg_fastai.data.folder import found_test
from vlg_fastai.data.store import Store
from vlg_fastai.data.view import View
from vlg_fastai.export import card, hub, likeness, pretrained, samples
from vlg_fastai.machine import device
from vlg_fastai.predict import blending
from vlg_fastai.predict.run import distinct
from vlg_fastai.runs.files import check_room, write_json
from vlg_fastai.runs.run import EXPORTED, safe_name

GRAPH = "model.onnx"
PARTS = "classifier.py", "selftest.py", "app.py"
# all that an export may hold at its top, and what programs leave beside: nothing else is replaced
WRITTEN = {
    GRAPH, EXPORTED, *PARTS, *card.PICTURES, "README.md", "labels.txt", "config.json",
    "likeness.npz", "model.safetensors", "requirements.txt", "samples", "samples.csv",
}  # fmt: skip
LITTER = {"__pycache__", ".gradio", ".DS_Store"}
CHECKED = 200  # test photos that the graph is compared with predict.py on
# of a probability; a probe's features are kept in half precision, where engines that differ in the
# last bit of fp32 may round to the other side
TOLERANCE = {"fp32": 1e-4, "probe": 2e-3, "fp16": 2e-2}
PIXELS = "size", "interpolation", "crop_pct", "how"  # of a View: what is done outside the graph
MEGABYTE = 1e6
BATCH = 16
PLAIN = PredictConfig(device="cpu", precision="fp32", forecast=False, adapt="off")


def export_runs(cfg, chosen):
    "Export the runs `chosen` as `cfg` asks; the path of the folder."
    blend = weighed(chosen)
    view, home = view_of(blend.runs), home_of(cfg, blend.runs[0])
    check(cfg, home)
    means = device.prepare(PLAIN), Store.asked_for(cfg)
    with built(home) as made:
        told = labelled(cfg, made, blend, view) | with_weights(cfg, made, blend, means[0])
        if cfg.onnx:
            told |= with_graph(cfg, made, blend, view, means)
        card.write(made, blend, told)
    size = sum(path.stat().st_size for path in home.rglob("*")) / MEGABYTE
    say(f"exported to {home}: {size:.0f} MB")
    if cfg.hub:
        hub.upload(home, cfg.hub, cfg.space)
    elif cfg.onnx:
        say(f"next, in an environment of its own: pip install -r {home}/requirements.txt && python"
            f" {home}/app.py")  # fmt: skip
    return home


def weighed(chosen):
    "The `Blended` runs as predict.py would take them."
    with muted():  # it tells of a blend.json, which predict.py writes
        blend = blending.weigh(PredictConfig(), distinct(chosen))
    if len(blend.runs) > 1:
        told = zip(blend.runs, blend.shares, strict=True)
        say(f"blend: {', '.join(f'{share:.2f} {run.called}' for run, share in told)}")
    elif len(chosen) > 1:
        say(f"no blend does better than {blend.runs[0].called} alone, which is exported")
    return blend


def view_of(runs):
    "The View that all runs share; UserError where one graph cannot take what they are shown."
    views = [View.stored(run.facts.view) for run in runs]
    for run, view in zip(runs, views, strict=True):
        odd = [name for name in PIXELS if getattr(view, name) != getattr(views[0], name)]
        if odd:
            pair = f"{runs[0].called} and {run.called}"
            raise UserError(f"--run: {pair} differ in {odd[0]} of their input; export them apart")
    return views[0]


def home_of(cfg, run):
    return cfg.out or Path("export") / safe_name(run.called.replace(":", "-"))


def check(cfg, home):
    "UserError for what would end in an export of no use, or overwrite what is none."
    if cfg.hub:
        hub.check(cfg.hub)
    if cfg.space and not cfg.onnx:
        raise UserError("--space: its page needs the graph; leave out --no-onnx")
    there = {path.name for path in home.iterdir()} if home.is_dir() else set()
    others = there - WRITTEN - LITTER if (home / EXPORTED).is_file() else there
    others |= {f"samples/{name}" for name in samples.of_others(home)}
    if Path.cwd().is_relative_to(home.resolve()):
        raise UserError(f"--out {home}: the current folder cannot be replaced; run the command from"
                        " outside, or name another folder")  # fmt: skip
    if others:
        raise UserError(f"--out {home}: holds other files, such as {min(others)}; name a new"
                        " folder, or an earlier export")  # fmt: skip
    check_room(home.absolute().parent, 0, f"--out {home}")


@contextmanager
def built(home):
    "Yield a new folder beside `home`; it takes its place when all went well, whatever was there."
    place = home.resolve()  # if it is a link
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=place.parent) as beside:
        made, before = Path(beside) / "made", Path(beside) / "before"
        made.mkdir()
        yield made
        if place.exists():
            place.rename(before)
        try:
            made.rename(place)
        except OSError:
            if before.exists():
                before.rename(place)
            raise


def labelled(cfg, home, blend, view):
    "Write labels.txt and preprocess.json; {name: value} for the card."
    facts = blend.runs[0].facts
    title = cfg.hub.rpartition("/")[2] if cfg.hub else home_of(cfg, blend.runs[0]).name
    lines = "".join(f"{label}\n".replace("\n", "\\n", label.count("\n")) for label in facts.classes)
    (home / "labels.txt").write_text(lines, encoding="utf-8", errors="backslashreplace")
    precision = "fp16" if cfg.fp16 else "fp32"
    rounded = any(one.facts.is_probe for run in blend.runs for one in (run, *run.members))
    kind = "probe" if rounded and not cfg.fp16 else precision
    write_json(home / EXPORTED, {
        "name": title, "labels": facts.classes, "size": view.size, "fit": view.how,
        "interpolation": view.interpolation, "crop_pct": view.crop_pct, "bars": list(BARS),
        "prior": facts.prior, "tolerance": TOLERANCE[kind], "unlike": likeness.UNLIKE,
    })  # fmt: skip
    return {
        "title": title, "size": view.size, "space": cfg.space, "precision": precision,
        "onnx": False, "likeness": False, "members": 1, "samples": "none",
    }  # fmt: skip


def with_weights(cfg, home, blend, machine):
    "Write timm's layout where there is one; {name: value} for the card."
    several = len(blend.runs) > 1 and f"{len(blend.runs)} runs are no single timm model"
    lacking = several or pretrained.write(home, blend.runs[0], machine)
    if lacking and not cfg.onnx:
        raise UserError(f"--no-onnx: nothing is left to export: {lacking}")
    if lacking:
        say(f"no model.safetensors in timm's layout: {lacking}")
    return {"lacking": lacking}


def with_graph(cfg, home, blend, view, means):
    "Write model.onnx and what goes with it, and check it; {name: value} for the card."
    from vlg_fastai.export import graph  # needs onnx, which --no-onnx does without

    say("exporting the graph")
    module = graph.whole(blend, means[0])
    graph.write(home / GRAPH, module, view.size, cfg.fp16)
    run = blend.runs[0].members[0] if blend.runs[0].members else blend.runs[0]
    known = with_likeness(cfg, home, run, likeness.backbone_of(module), (view, means))
    for name in PARTS:
        shutil.copyfile(files("vlg_fastai.export.standalone") / name, home / name)
    pins = [f"{name}=={version}\n" for name, version in card.APP.items()]
    (home / "requirements.txt").write_text("".join(pins))
    told = samples.write(cfg, run, home)
    samples.table(home, blend, means)
    compare(cfg, home, blend, means)
    leaves = sum(isinstance(one, graph.Leaf) for one in module.modules())
    return {"onnx": True, "likeness": known, "members": leaves, "samples": told}


def with_likeness(cfg, home, run, body, shown):
    "Write likeness.npz; whether it could be made."
    view, means = shown
    try:
        found = likeness.statistics(cfg, run, body, view, means)
    except likeness.LackingError as reason:
        say(f"photos unlike any class are not recognised: {reason}")
        return False
    np.savez(home / "likeness.npz", **found)
    return True


def compare(cfg, home, blend, means):
    "UserError where the graph differs from predict.py on the samples or on test photos."
    from vlg_fastai.export.standalone.classifier import Classifier

    test = found_test(replace(PLAIN, data=cfg.data), blend.runs[0])
    places = [home / "samples", *([test] if test and test.is_dir() else [])]
    paths = [path for place in places for path in listing.of_folder(place)["path"][:CHECKED]]
    with muted():
        photos = scan.scan_named(paths)
        photos = photos[photos["problem"].isna()].reset_index(drop=True)
        expected, classes = samples.expected(blend, photos, means)
    classifier = Classifier(home)
    parts = [photos["path"][i : i + BATCH] for i in range(0, len(photos), BATCH)]
    found = np.concatenate([classifier(part)[0] for part in parts])
    order = [classifier.labels.index(name) for name in classes]
    fine = np.isfinite(expected).all(1)
    say_difference(found[fine][:, order], expected[fine], classifier.facts["tolerance"])


def say_difference(found, expected, tolerance):
    "Report how far the graph's probabilities (n, classes) are from the expected ones."
    largest = float(np.abs(found - expected).max())
    lead = expected.max(1) - expected[np.arange(len(found)), found.argmax(1)]
    other = int((lead > tolerance).sum())
    classes = "the same classes" if not other else f"{other} other classes"
    told = (f"{len(found)} photos beside predict.py: {classes}, probabilities differ by"
            f" {largest:.1g} at most")  # fmt: skip
    if other or largest > tolerance:
        raise UserError(
            f"the graph was checked on {told}, more than the {tolerance:g} that rounding explains:"
            " nothing was exported"
        )
    say(f"checked on {told}")
