"""Config in, finished run folder out: the steps of a training, one a line."""

import time

from vlg_fastai.cli import as_json
from vlg_fastai.config import UserError
from vlg_fastai.console import clock, say
from vlg_fastai.data import split
from vlg_fastai.machine import device
from vlg_fastai.machine.versions import circumstances
from vlg_fastai.model import bundle, scores, sources
from vlg_fastai.runs.facts import Facts
from vlg_fastai.runs.files import write_json
from vlg_fastai.runs.run import CONFIG, SPLIT, create
from vlg_fastai.train import candidates
from vlg_fastai.train.evaluate import evaluate
from vlg_fastai.train.finetune import fine_tune
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.prepare import prepare, settle_and_scan
from vlg_fastai.train.trackers import tracked

FEW_HELD_OUT = 30  # below it an accuracy is known to less than 10 points either way


def train(cfg, source, cbs=()):
    """Do the run that `cfg` asks for, from the weights of `source`; returns its Run.

    cbs: fastai callbacks of the caller's for the fit: to prune, to stop in time, to look on.
    """
    start = time.monotonic()
    machine = device.prepare(cfg)
    cfg, scanned = settle_and_scan(cfg, source)
    prepared = prepare(cfg, source, scanned, machine)
    learn = learner_for(prepared, source)
    run = open_run(prepared, source)
    with tracked(cfg, run, learn) as tell:
        probe, fold = candidates.fit_probe(prepared, run)
        warm = candidates.warm_start(prepared, learn)
        fit = fine_tune(prepared, learn, run, cbs)
        tuned = candidates.of_fit(prepared, learn, fit, warm, run)
        kept, rows = choose([probe, warm, *tuned], prepared, fit)
        bundle.save(run, kept.model)  # before anything else can go wrong
        spec, figures = evaluate(run, prepared, kept)
        candidates.say_choice(rows, kept.name)
        facts = Facts(
            **fit.facts(), probe=fold, model=kept.name, candidates=rows, **spec.facts(), **figures,
            **circumstances(source, machine, start),
        )  # fmt: skip
        tell(facts)
    facts.write(run.path)
    say_result(run, facts)
    return run


def open_run(prepared, source):
    "The new run folder, with what was asked and how the photos were split; says what begins."
    cfg, spec, machine = prepared.cfg, prepared.spec, prepared.machine
    run = create(cfg.runs, cfg.name or sources.base_name(source.arch))
    write_json(run.path / CONFIG, as_json(cfg))
    split.save(prepared.every, run.path / SPLIT)
    say(
        f"{run.path}: {source.arch} ({weights_in_words(source)}), {len(spec.classes)} classes,"
        f" {spec.view.size} px, {machine.device} {machine.precision}"
    )
    return run


def weights_in_words(source):
    return {
        "hub": "weights from the hub",
        "cache": "weights from the hub's cache",
        "bundled": "bundled ImageNet weights",
        "file": f"weights of {source.file}",
        "nothing": "no trained weights",
    }[source.kind]


def choose(found, prepared, fit):
    "(the candidate to keep of those that there are, rows of all figures)."
    found = [candidate for candidate in found if candidate is not None]
    if not found:
        raise UserError(f"--lr {fit.lr:g}: training diverged; try a tenth of it")
    return candidates.best(found, prepared.labels[prepared.held])


def say_result(run, facts):
    "Say how good the run is, how sure that is, and where it lies."
    if facts.accuracy is None:
        say("no validation photos: the run has no score")
    else:
        if facts.held_out < FEW_HELD_OUT:
            say(f"only {facts.held_out} photos are held out: too few to score or calibrate by")
        low, high = facts.accuracy_interval
        say(
            f"validation: accuracy {facts.accuracy:.4f} ({low:.3f} to {high:.3f}) on"
            f" {facts.held_out} photos, macro-F1 {facts.macro_f1:.4f}, NLL {facts.nll:.4f},"
            f" ECE {facts.ece_before:.3f} -> {facts.ece:.3f}"
        )
        warn_of_guessing(facts)
    epoch = f", best epoch {facts.best_epoch}" if facts.best_epoch else ""
    done = f"{facts.status} in {clock(facts.seconds)}, kept the {facts.model}{epoch}"
    say(f"{done}: run saved in {run.path}")


def warn_of_guessing(facts):
    "Say so where the model that is kept knows less than one who knows nothing."
    if scores.guesses(facts):
        say(
            f"this model is worse than guessing (NLL {scores.guessing(len(facts.classes)):.4f}): do"
            " not submit what it says; try a tenth of the --lr"
        )
