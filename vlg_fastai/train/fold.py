"""Photos of one fold held out in, every model that was fitted without them, and its answers, out.

Which of the models is kept is decided elsewhere, by the photos of the other folds: the held-out
photos choose nothing here, neither an epoch nor a model nor a temperature.
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

ANSWERS, TOLD = "answers.safetensors", "answers.json"  # the latter last: with it a fold is done
SHORTEST = 1e-6  # hours: no time is not the same as no limit
WORSE = ", degraded"  # what a name among the answers ends with where they are of degraded copies


def of_fold(cfg, **more):
    "The options of one fold: its last epoch is the one that counts."
    return replace(cfg, folds=0, refit=False, devices=None, keep="last", **more)


def part_of(hours, rounds, gone=False):
    """What a fold may take of `hours`, from the start of its process; so many `rounds` are to come.

    None without a limit. gone: for a process that starts only now.
    """
    if not hours:
        return None
    spent = (time.monotonic() - STARTED) / 3600
    return max(hours - spent, SHORTEST) / rounds + (0 if gone else spent)


def fit(prepared, source, run, cbs=()):
    """Fit all that the fold of `prepared` could keep and write it to the folder of `run`.

    Returns False where it was asked to stop: the fold goes on another time.
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
        except PreemptedError:  # it is the whole run that goes on
            raise PreemptedError(GO_ON.format(Run(run.path.parent).words)) from None
        if result.status == "interrupted":
            return False
        found = [one for one in (probe, warm, *tuned(prepared, learn, result)) if one is not None]
        if not found:
            raise UserError(
                f"--lr {result.lr or 0:g}: {run.path.name} came to nothing; try a tenth"
            )
        known = {**circumstances(source, prepared.machine, start), **result.facts()}
        files = prepared.table.loc[prepared.held, "file"].tolist()
        told = {"files": files, "classes": prepared.spec.classes, "facts": known}
        write(run, found, told)
    clear(run)
    return True


def tuned(prepared, learn, result):
    "[the fine-tuned net], or [] where there is none or its weights are no numbers."
    if not result.epochs or not bundle.finite(learn.model):
        return []
    return [candidates.net(candidates.FINE_TUNED, learn.model, prepared)]


def is_done(run):
    return (run.path / TOLD).exists()


def fits(run, prepared):
    "Whether what a fold that is done answered are the photos and classes of `prepared`, or more."
    told, files = read_json(run.path / TOLD), prepared.table.loc[prepared.held, "file"]
    return set(files) <= set(told["files"]) and told["classes"] == prepared.spec.classes


def undo(run):
    "Have a fold that is done be fitted again."
    (run.path / TOLD).unlink()


def slim(run):
    "Remove what a fold could have kept, for good."
    shutil.rmtree(run.path / CANDIDATES, ignore_errors=True)


def write(run, found, known):
    "Write weights and answers of the candidates `found`, then what is `known`: it is done."
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
    "([Candidate] of a fold that is done with its answers on `files`, facts of its fit)."
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
    "The `Weights` of the Candidate `one` of a fold: of a blend those of both its nets."
    if not one.members:
        return bundle.Weights(_tensors(run, one.name))
    states = [_tensors(run, name) for name in (candidates.PROBE, candidates.FINE_TUNED)]
    return bundle.Weights(
        {f"members.{i}.{key}": t for i, state in enumerate(states) for key, t in state.items()}
    )


def _tensors(run, name):
    return load_file(run.path / CANDIDATES / safe_name(name) / bundle.WEIGHTS)
