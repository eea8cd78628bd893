"""Config in, finished run folder out."""

import dataclasses
import time

import pandas as pd

from vlg_fastai import device, runs
from vlg_fastai.cli import as_json
from vlg_fastai.config import UserError
from vlg_fastai.console import clock, say
from vlg_fastai.data import split
from vlg_fastai.environment import circumstances
from vlg_fastai.model import bundle, candidates, inference, probe, scores, sources
from vlg_fastai.model.intervals import interval
from vlg_fastai.train.trackers import tracked
from vlg_fastai.train.tune import NO_FIT, build, probed, tuned
from vlg_fastai.train.work import photos, prepare

FEW_HELD_OUT = 30  # below it an accuracy is known to less than 10 points either way


def train(cfg, source):
    "Do the run that `cfg` asks for, from the weights of `source`; returns its Run."
    start = time.monotonic()
    machine = device.prepare(cfg)
    cfg, table = photos(cfg, source)
    work = prepare(cfg, source, table, machine)
    learn = build(work, source) if cfg.epochs else None
    run = open_run(work, source)
    say(f"{run.path}: {source.arch} ({weights_in_words(source)}), {words(work)}")
    with tracked(work.cfg, run, learn) as tell:
        facts = {**outcome(work, learn, run), **circumstances(source, machine, start)}
        tell(facts)
    runs.write_json(run.path / runs.FACTS, facts)
    report(run, facts)
    return run


def open_run(work, source):
    "The new run folder, with what was asked and how the photos were split."
    run = runs.create(work.cfg.runs, work.cfg.name or sources.base_name(source.arch))
    runs.write_json(run.path / runs.CONFIG, as_json(work.cfg))
    split.save(work.every, run.path / runs.SPLIT)
    return run


def outcome(work, learn, run):
    "Facts on the model that is kept of all that the run makes; it is saved on the way."
    found, facts = contest(work, learn, run)
    if not found:
        raise UserError(f"--lr {facts['lr']:g}: training diverged; try a tenth of it")
    kept, rows = candidates.best(found, work.labels[work.held])
    bundle.save(run, kept.model)  # before anything else can go wrong
    card, figures = evaluate(run, work, kept)
    candidates.report(rows, kept.name)
    return {**facts, "model": kept.name, "candidates": rows, **card.facts(), **figures}


def contest(work, learn, run):
    "(all candidates of the run, facts on how they came about); oof.csv is written on the way."
    found, facts = [], {}
    if work.frozen and (work.cfg.probe or learn is None):
        candidate, fold = probed(work)
        write_predictions(run.path / runs.OOF, work, fold.logits, candidate.temperature)
        facts["probe"] = fold.figures(work.labels, work.groups)
        say(probe.in_words(facts["probe"]))
        found.append(candidate)
    if learn is None:
        return found, {**NO_FIT, **facts, "status": "dry run" if work.cfg.dry_run else "finished"}
    more, outcome = tuned(work, learn, run)
    return found + more, {**outcome, **facts}


def write_predictions(path, work, z, temperature, rows=slice(None)):
    "Write file, label and one calibrated probability a class for `rows` of the table."
    probs = inference.probabilities(z, temperature)
    table = work.table.loc[rows, ["file", "label"]]
    kept = pd.DataFrame(probs, columns=work.card.classes, index=table.index)
    runs.write_csv(path, pd.concat([table, kept], axis=1))


def evaluate(run, work, kept):
    "(card with head and temperature, figures) of the candidate that is kept; writes valid.csv."
    y, z = work.labels[work.held], kept.logits
    temperature = kept.temperature or inference.fit_temperature(z, y)
    write_predictions(run.path / runs.VALID, work, z, temperature, work.held)
    before, after = (inference.probabilities(z, t) for t in (1.0, temperature))
    figures = scores.summary(before, after, y, work.card.classes)
    likely = interval(after.argmax(1) == y, work.groups[work.held])
    card = dataclasses.replace(work.card, head=kept.head, temperature=temperature)
    counts = work.table["split"].value_counts().to_dict()
    return card, {**figures, "accuracy_interval": likely, "photos": counts}


def weights_in_words(source):
    return {
        "hub": "weights from the hub",
        "cache": "weights from the hub's cache",
        "bundled": "bundled ImageNet weights",
        "file": f"weights of {source.file}",
        "nothing": "no trained weights",
    }[source.kind]


def words(work):
    card, machine = work.card, work.machine
    return f"{len(card.classes)} classes, {card.view.size} px, {machine.device} {machine.precision}"


def report(run, facts):
    "Say how good the run is, how sure that is, and where it lies."
    held_out = facts["photos"].get("valid", 0)
    if facts["accuracy"] is None:
        say("no validation photos: the run has no score")
    else:
        if held_out < FEW_HELD_OUT:
            say(f"only {held_out} photos are held out: too few to score or calibrate by")
        low, high = facts["accuracy_interval"]
        say(
            f"validation: accuracy {facts['accuracy']:.4f} ({low:.3f} to {high:.3f}) on"
            f" {held_out} photos, macro-F1 {facts['macro_f1']:.4f}, NLL {facts['nll']:.4f},"
            f" ECE {facts['ece_before']:.3f} -> {facts['ece']:.3f}"
        )
        warn_of_guessing(facts)
    epoch = f", best epoch {facts['best_epoch']}" if facts["best_epoch"] else ""
    what = f"{facts['status']} in {clock(facts['seconds'])}, kept the {facts['model']}{epoch}"
    say(f"{what}: run saved in {run.path}")


def warn_of_guessing(facts):
    "Say so where the model that is kept knows less than who knows nothing."
    guessing = candidates.guessing(len(facts["classes"]))  # whose NLL that is
    if facts["nll"] > guessing:
        say(
            f"this model is worse than guessing (NLL {guessing:.4f}): do not submit what it says;"
            " try a tenth of the --lr"
        )
