"""Fit every candidate model of one fold without its held-out photos, and predict them.

Which model is kept is decided elsewhere, on the photos of the other folds: here the held-out
photos choose nothing, neither an epoch nor a model nor a temperature.
"""

import shutil
import time
from dataclasses import replace

from safetensors.torch import load_file

from vlg_fastai.cli import STARTED, PreemptedError
from vlg_fastai.config import UserError
from vlg_fastai.machine.versions import circumstances
from vlg_fastai.model import bundle
from vlg_fastai.runs.files import read_json, write_json
from vlg_fastai.runs.resume import clear, locked
from vlg_fastai.runs.run import CANDIDATES, CHECKPOINT, Run, safe_name
from vlg_fastai.train import candidates, checkpoint
from vlg_fastai.train.finetune import fine_tune
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.opening import say_place
from vlg_fastai.train.stopping import GO_ON, stoppable
from vlg_fastai.train.trackers import tracked

ANSWERS, TOLD = "answers.safetensors", "answers.json"  # the latter last: it marks a fold as done
SHORTEST = 1e-6  # hours: no time left is not the same as no limit
WORSE = ", degraded"  # suffix of the names of predictions on degraded copies


def of_fold(cfg, **more):
    "The options of one fold: its last epoch is the one that counts."
    return replace(cfg, folds=0, refit=False, devices=None, keep="last", **more)


def part_of(hours, rounds, gone=False):
    """A fold's share of `hours`, from the start of its process, with `rounds` still to come.

    None without a limit. gone: for a process that starts only now.
    """
    if not hours:
        return None
    spent = (time.monotonic() - STARTED) / 3600
    return max(hours - spent, SHORTEST) / rounds + (0 if gone else spent)


def fit(prepared, source, run, cbs=()):
    """Fit all candidates of the fold of `prepared` and write them to the folder of `run`.

    Returns False if it was asked to stop: the fold can be resumed later.
    """
    start, learn = time.monotonic(), learner_for(prepared, source)
    if checkpoint.read(run.path / CHECKPOINT):
        say_place(run)
    with locked(run), stoppable(Run(run.path.parent)), tracked(prepared.cfg, run, learn):
        probe = candidates.probe_apart(prepared)
        warm = candidates.warm_start(prepared, learn)
        nets = candidates.nets_of(prepared, probe, warm)
        try:
            result = fine_tune(prepared, learn, run, cbs, nets)
        except PreemptedError:  # it is the whole run that is resumed
            raise PreemptedError(GO_ON.format(Run(run.path.parent).words)) from None
        if result.status == "interrupted":
            return False
        found = [one for one in (probe, warm, *tuned(prepared, learn, result)) if one is not None]
        if not found:
            raise UserError(
                f"--lr {result.lr or 0:g}: {run.path.name} has no usable model; try a tenth"
            )
        known = {**circumstances(source, prepared.machine, start), **result.facts()}
        files = prepared.table.loc[prepared.held, "file"].tolist()
        told = {"files": files, "classes": prepared.spec.classes, "facts": known,
                "extra": mark_of(prepared)}  # fmt: skip
        write(run, found, told)
    clear(run)
    return True


def tuned(prepared, learn, result):
    "[the fine-tuned net], or [] if there is none or its weights are not finite."
    if not result.epochs or not bundle.finite(learn.model):
        return []
    return [candidates.net(candidates.FINE_TUNED, learn.model, prepared)]


def is_done(run):
    return (run.path / TOLD).exists()


def fits(run, prepared):
    "Whether a finished fold predicted at least the photos of `prepared`, with its classes."
    told, files = read_json(run.path / TOLD), prepared.table.loc[prepared.held, "file"]
    same = told["classes"] == prepared.spec.classes and told.get("extra") == mark_of(prepared)
    return set(files) <= set(told["files"]) and same


def mark_of(prepared):
    "What tells the extra photos of `prepared` from others; None without."
    return prepared.extra.mark if prepared.extra else None


def undo(run):
    "Mark a finished fold to be fitted again."
    (run.path / TOLD).unlink()


def slim(run):
    "Delete the candidates of a fold."
    shutil.rmtree(run.path / CANDIDATES, ignore_errors=True)


def write(run, found, known):
    "Write weights and predictions of the candidates `found`, then `known`, which marks it done."
    tensors, told = {}, []
    for one in found:
        folder = run.path / CANDIDATES / safe_name(one.name)
        folder.mkdir(parents=True, exist_ok=True)
        bundle.save(folder, one.model)
        for ending, z in zip(("", WORSE), one.answers, strict=False):
            tensors[f"{one.name}{ending}"] = bundle.tensor(z)
        told.append({key: getattr(one, key) for key in ("name", "head", "temperature", "cost")})
    bundle.write_tensors(run.path / ANSWERS, tensors)
    write_json(run.path / TOLD, {"candidates": told, **known})


def read(run, files):
    "([Candidate] of a finished fold with predictions on `files`, facts of its fit)."
    told, tensors = read_json(run.path / TOLD), load_file(run.path / ANSWERS)
    places = {file: i for i, file in enumerate(told["files"])}
    rows, found = [places[file] for file in files], []
    for one in told["candidates"]:
        names = one["name"], f"{one['name']}{WORSE}"
        z = [tensors[name].numpy()[rows] for name in names if name in tensors]
        about = {key: one[key] for key in ("temperature", "cost")}
        found.append(candidates.Candidate(one["name"], one["head"], None, *z, **about))
    return found, told["facts"]


def weights(run, one):
    "The `Weights` of the Candidate `one` of a fold; for a blend, those of both its nets."
    if not one.members:
        return bundle.Weights(_tensors(run, one.name))
    states = [_tensors(run, name) for name in (candidates.PROBE, candidates.FINE_TUNED)]
    return bundle.Weights(
        {f"members.{i}.{key}": t for i, state in enumerate(states) for key, t in state.items()}
    )


def _tensors(run, name):
    return load_file(run.path / CANDIDATES / safe_name(name) / bundle.WEIGHTS)
