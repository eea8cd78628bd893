"""Config and runs in, pictures and tables in each run's reports folder out."""

from vlg_fastai import device
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import scan
from vlg_fastai.data.folder import of_run, test_of
from vlg_fastai.data.store import Store
from vlg_fastai.report import (
    confusion,
    examples,
    faithfulness,
    losses,
    map,
    reliability,
    unlike,
)
from vlg_fastai.report.gradcam import Explainer
from vlg_fastai.report.stored import Given, held_out
from vlg_fastai.runs import SPLIT, read_csv
from vlg_fastai.unseen.scene import Scene, UnavailableError

REPORTS = {
    "confusion": confusion, "top_losses": losses, "gradcam": examples, "reliability": reliability,
    "unlike": unlike, "map": map, "faithfulness": faithfulness,
}  # fmt: skip
WITH_TEST = {"unlike", "map"}  # made from features of training and test photos
WITHOUT_MODEL = {"confusion", "reliability", *WITH_TEST}
ASKED_FOR = {"faithfulness", *WITH_TEST}  # take minutes, or test photos: not among "all"


def interpret(cfg, chosen):
    "Make the reports that `cfg` names, or all, for each of the runs `chosen`; paths of the files."
    machine = device.prepare(cfg)
    return [path for run in chosen for path in interpret_one(cfg, run, machine)]


def interpret_one(cfg, run, machine):
    "Make the reports for one run and say where they are."
    names = wanted(cfg)
    say(f"{run.path}:")
    needed = cfg.images or set(names) - WITHOUT_MODEL
    explainer = explain(cfg, run, machine) if needed else None
    files = examples.report_images(cfg.images, run.reports, explainer) if cfg.images else []
    if names:
        scene = before(cfg, run, machine) if WITH_TEST & set(names) else None
        held = held_out(run) if set(names) - WITH_TEST else None
        given = Given(held, run.reports, of_run(cfg, run), explainer, scene)
        for name in names:
            files += REPORTS[name].report(given, count(cfg, name))
    for path in files:
        say(f"written: {path}")
    return files


def explain(cfg, run, machine):
    "The Explainer of `run`, with what the cache holds of its photos."
    photos = read_csv(run.path / SPLIT)
    photos["path"] = [of_run(cfg, run) / file for file in photos["file"]]
    return Explainer.of(run, machine, photos, Store.of(cfg))


def before(cfg, run, machine):
    "The Scene of `run` and its test photos."
    photos = scan.scan_files(test_of(cfg, run))
    scan.report_broken(photos)
    good = photos[photos["problem"].isna()].reset_index(drop=True)
    try:
        scene = Scene.of(run, cfg, good, machine)
        scene.evidence  # noqa: B018  it may turn out that there are too few photos
    except UnavailableError as reason:
        raise UserError(f"--unlike, --map: {reason}") from None
    return scene


def wanted(cfg):
    "Names of the reports that `cfg` asks for; without any, and without --images, all quick ones."
    named = [name for name in REPORTS if getattr(cfg, name) not in (None, False)]
    return named if named or cfg.images else [name for name in REPORTS if name not in ASKED_FOR]


def count(cfg, name):
    "The number that follows the option, or the report's own."
    value = getattr(cfg, name)
    return value[0] if isinstance(value, tuple) and value else REPORTS[name].MOST
