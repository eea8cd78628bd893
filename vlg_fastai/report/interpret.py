"""Write pictures and tables into each run's reports folder."""

import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import listing, scan
from vlg_fastai.data.folder import found_test, of_run, test_of
from vlg_fastai.data.store import Store
from vlg_fastai.machine import device
from vlg_fastai.report import (
    confusion,
    examples,
    faithfulness,
    losses,
    map,
    page,
    reliability,
    unlike,
)
from vlg_fastai.report.gradcam import Explainer
from vlg_fastai.report.inputs import ReportInputs
from vlg_fastai.runs.predictions import held_out
from vlg_fastai.unseen.features import RunFeatures, UnavailableError

REPORTS = {
    "confusion": confusion, "top_losses": losses, "gradcam": examples, "reliability": reliability,
    "page": page, "unlike": unlike, "map": map, "faithfulness": faithfulness,
}  # fmt: skip
WITH_TEST = {"unlike", "map"}  # made from features of training and test photos
WITHOUT_MODEL = {"confusion", "reliability", *WITH_TEST}
PAGE = "index.html"
ASKED_FOR = {"faithfulness", *WITH_TEST}  # take minutes or need test photos: not part of "all"


def interpret(cfg, chosen):
    """Make the reports that `cfg` names, or all, for each of the runs `chosen`; return the paths.

    With several runs, one that cannot be reported only gets a message.
    """
    machine, written = device.prepare(cfg), []
    for run in chosen:
        try:
            written += interpret_one(cfg, run, machine)
        except UserError as error:
            if len(chosen) == 1:
                raise
            say(f"left out: {error}")
    if not written:
        raise UserError("--run: none of these runs can be reported")
    return written


def interpret_one(cfg, run, machine):
    "Make the reports for one run and print their paths."
    names = wanted(cfg)
    say(f"{run.path}:")
    needed = cfg.images or set(names) - WITHOUT_MODEL
    explainer = explain(cfg, run, machine) if needed else None
    files = examples.report_images(cfg.images, run.reports, explainer) if cfg.images else []
    if names:
        run_features, lacking = surroundings(cfg, run, machine, names)
        held = held_out(run) if set(names) - WITH_TEST else None
        inputs = ReportInputs(
            held, run.reports, of_run(cfg, run), explainer, run_features, run, lacking
        )
        for name in names:
            files += made(cfg, name, inputs)
    for path in files:
        if path.name != PAGE:
            say(f"written: {path}")
    for path in files:
        if path.name == PAGE:
            say(f"next: open {path}")
    return files


def made(cfg, name, inputs):
    "Files of the report `name`; if it cannot be made, an error only where it was asked for."
    try:
        return REPORTS[name].write(inputs, count(cfg, name))
    except UserError as error:
        if asked_for(cfg, name):
            raise
        say(f"no {name}: {error}")
        return []


def explain(cfg, run, machine):
    "The Explainer of `run`, using photos that the cache holds."
    photos = listing.of_run(run, of_run(cfg, run))
    return Explainer.of_run(run, machine, photos, Store.asked_for(cfg))


def surroundings(cfg, run, machine, names):
    "(RunFeatures of `run` and its test photos, ''), or (None, reason) where a page can do without."
    needed = WITH_TEST & set(names)
    if not needed and "page" not in names:
        return None, ""
    try:
        run_features = RunFeatures.of_run(run, cfg, asked(cfg, run, needed), machine)
        if needed:
            run_features.evidence  # noqa: B018  fails here if there are too few photos
    except UnavailableError as reason:
        if needed:
            raise UserError(f"--unlike, --map: {reason}") from None
        return None, str(reason)
    return run_features, ""


def asked(cfg, run, needed):
    "The readable test photos, as a table: empty if there is no folder, unless `needed`."
    folder = test_of(cfg, run) if needed else found_test(cfg, run)
    if folder is None:
        return pd.DataFrame(columns=["file", "path", "content"])
    photos = scan.scan_files(folder)
    scan.say_broken(photos)
    return photos[photos["problem"].isna()].reset_index(drop=True)


def wanted(cfg):
    "Names of the reports that `cfg` asks for; if none, and no --images, all quick ones."
    named = [name for name in REPORTS if asked_for(cfg, name)]
    return named if named or cfg.images else [name for name in REPORTS if name not in ASKED_FOR]


def asked_for(cfg, name):
    return getattr(cfg, name) not in (None, False)


def count(cfg, name):
    "The number given with the option, or the report's default."
    value = getattr(cfg, name)
    return value[0] if isinstance(value, tuple) and value else REPORTS[name].MOST
