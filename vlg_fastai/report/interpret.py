"""Config and runs in, pictures and tables in each run's reports folder out."""

from vlg_fastai import device
from vlg_fastai.console import say
from vlg_fastai.data.folder import of_run
from vlg_fastai.data.store import Store
from vlg_fastai.report import confusion, examples, faithfulness, losses
from vlg_fastai.report.gradcam import Explainer
from vlg_fastai.report.stored import Given, held_out
from vlg_fastai.runs import SPLIT, read_csv

REPORTS = {
    "confusion": confusion, "top_losses": losses, "gradcam": examples, "faithfulness": faithfulness
}  # fmt: skip
WITHOUT_MODEL = {"confusion"}  # made from the stored predictions alone
ASKED_FOR = {"faithfulness"}  # takes minutes: not among "all"


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
        given = Given(held_out(run), run.reports, of_run(cfg, run), explainer)
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


def wanted(cfg):
    "Names of the reports that `cfg` asks for; without any, and without --images, all quick ones."
    named = [name for name in REPORTS if getattr(cfg, name) not in (None, False)]
    return named if named or cfg.images else [name for name in REPORTS if name not in ASKED_FOR]


def count(cfg, name):
    "The number that follows the option, or the report's own."
    value = getattr(cfg, name)
    return value[0] if isinstance(value, tuple) and value else REPORTS[name].MOST
