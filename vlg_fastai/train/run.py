"""Config in, finished run folder out: the steps of a training, one a line."""

import time
from datetime import UTC, datetime
from functools import partial

from vlg_fastai.cli import as_json
from vlg_fastai.config import UserError
from vlg_fastai.console import clock, say
from vlg_fastai.data import split
from vlg_fastai.machine import device
from vlg_fastai.machine.versions import circumstances
from vlg_fastai.model import bundle, scores, sources
from vlg_fastai.recipes import STRONG, measured
from vlg_fastai.runs.facts import FACTS, PROBE, UNFINISHED, WARM
from vlg_fastai.runs.files import check_room, read_json, write_json
from vlg_fastai.runs.resume import clear, locked, to_resume
from vlg_fastai.runs.run import CHECKPOINT, CONFIG, SPLIT, Run, create
from vlg_fastai.train import candidates, checkpoint, choosing, others
from vlg_fastai.train.evaluate import finish
from vlg_fastai.train.finetune import FitResult, fine_tune
from vlg_fastai.train.keeping import KeepBetter
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.prepare import prepare, settle_and_scan
from vlg_fastai.train.stopping import stoppable
from vlg_fastai.train.trackers import tracked

RESUMED = "resumed.json"  # beside the checkpoints: when the run went on
COPIES = 6  # of a net in a run: a blend of two, and the four that were not kept
KEPT = 14  # in two checkpoints, of seven tensors a weight at the most
FEW_HELD_OUT = 30  # below it an accuracy is known to less than 10 points either way


def train(cfg, source, cbs=()):
    """Do the run that `cfg` asks for, or go on with it, from the weights of `source`; its Run.

    cbs: fastai callbacks of the caller's for the fit: to prune, to stop in time, to look on.
    """
    start, machine = time.monotonic(), device.prepare(cfg)
    earlier = to_resume(cfg.runs, cfg.resume) if cfg.resume else None
    cfg, scanned = settle_and_scan(cfg, source)
    prepared = prepare(cfg, source, scanned, machine, split.of_run(earlier))
    learn = learner_for(prepared, source)
    run = earlier or open_run(prepared, source, learn)
    with locked(run), stoppable(run), tracked(cfg, run, learn) as tell:
        about = partial(facts_of, source, machine, start, resumed(earlier))
        probe, fold = candidates.fit_probe(prepared, run)
        if probe and learn and not (run.path / FACTS).exists():
            # from here on the run can be used, whatever ends it
            finish(
                run, prepared, probe, {"probe": fold, **FitResult(UNFINISHED).facts(), **about()}
            )
        warm = candidates.warm_start(prepared, learn)
        keep = partial(KeepBetter, prepared, run, partial(about, probe=fold), probe)
        fit = fine_tune(prepared, learn, run, cbs, candidates.nets_of(prepared, probe, warm), keep)
        tuned = candidates.of_fit(prepared, learn, fit, probe, warm)
        found = [one for one in (probe, warm, *tuned) if one is not None]
        kept, rows, nested = choose(found, prepared, fit)
        choosing.say_choice(rows, kept.name)
        known = {**about(probe=fold), **fit.facts(), "candidates": rows, "nested": nested}
        others.keep(run, prepared, known, [one for one in found if one is not kept])
        tell(finish(run, prepared, kept, known))
    return settled(Run(run.path))


def facts_of(source, machine, start, resumed_at, **known):
    "Facts of a run that hold whatever comes of it, as they are now."
    return {**circumstances(source, machine, start), "resumed_at": resumed_at, **known}


def resumed(run):
    "When `run` went on, and that it does so now, which is said; [] for one that begins."
    if run is None:
        return []
    to_resume(run.path.parent, run.path.name)  # again: it may have been finished meanwhile
    times, file = [], run.path / CHECKPOINT / RESUMED
    if file.exists():
        times = read_json(file)["at"]
    times.append(datetime.now(UTC).isoformat(timespec="seconds"))
    write_json(file, {"at": times})
    kept = checkpoint.read(run.path / CHECKPOINT)
    place = kept["place"] if kept else {"epoch": 0, "batches": 0}
    done = len(kept["callbacks"]["History"]["rows"]) if kept else 0
    within = f", with batch {place['batches'] + 1}" if place["batches"] else ""
    say(f"{run.path}: goes on after epoch {done}{within}")
    return times


def settled(run):
    "`run`, told of; what only a run that stops needs is gone unless it did."
    if run.facts.status != "interrupted":
        clear(run)
    say_result(run, run.facts)
    return run


def room_for(prepared, learn):
    "Bytes that the run will take at the most, tables apart."
    net = learn.model if learn else prepared.extractor.net
    lean = prepared.cfg.lean or not learn
    return bundle.size_of(net) * ((2 if lean else COPIES) + (KEPT if learn else 0))


def open_run(prepared, source, learn):
    "The new run folder, with what was asked and how the photos were split; says what begins."
    cfg, spec, machine = prepared.cfg, prepared.spec, prepared.machine
    check_room(cfg.runs, room_for(prepared, learn), f"--runs {cfg.runs}")
    run = create(cfg.runs, cfg.name or sources.base_name(source.arch))
    split.save(prepared.every, run.path / SPLIT)
    write_json(run.path / CONFIG, as_json(cfg))  # last: a run that has it can go on
    say(
        f"{run.path}: {source.arch} ({weights_in_words(source)}), {len(spec.classes)} classes,"
        f" {spec.view.size} px, {machine.device} {machine.precision}"
    )
    if cfg.epochs and not measured(cfg.recipe, source.arch):
        say(f"--recipe {cfg.recipe}: its values for {source.arch} are not measured")
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
    "(the candidate to keep, rows of all figures, figures that the choice is no part of)."
    if not found:
        raise UserError(f"--lr {fit.lr:g}: training diverged; try a tenth of it")
    held = prepared.held
    return choosing.best(found, prepared.labels[held], prepared.groups[held])


def say_result(run, facts):
    "Say how good the run is, how sure that is, and where it lies."
    if facts.accuracy is None:
        say("no validation photos: the run has no score")
    else:
        if facts.held_out < FEW_HELD_OUT:
            say(f"only {facts.held_out} photos are held out: too few to score or calibrate by")
        say_score(facts)
        warn_of_guessing(facts)
    tuned = facts.best_epoch and facts.model not in (PROBE, WARM)
    epoch = f", best epoch {facts.best_epoch}" if tuned else ""
    done = f"{facts.status} in {clock(facts.seconds)}, kept: {facts.model}{epoch}"
    say(f"{done}; run saved in {run.path}")
    say_next(run, facts)


def say_score(facts):
    """Say the score on the held-out photos: where a model was chosen by them, that of answers
    chosen without the photo comes first, since what is kept looks better than it is."""
    own = (
        f"{in_words(facts.named())}, macro-F1 {facts.macro_f1:.4f}, ECE {facts.ece_before:.3f} ->"
        f" {facts.ece:.3f}"
    )
    if not facts.nested:
        say(f"validation: {own}; {facts.held_out} photos")
        return
    but = ", but not the epoch," if facts.best_epoch else ""
    say(
        f"validation: {in_words(facts.nested)}; {facts.held_out} photos, each answered by a model"
        f" and temperature{but} chosen without it"
    )
    say(f"the one that is kept, chosen by all of them: {own}")


def in_words(figures):
    low, high = figures["accuracy_interval"]
    return f"accuracy {figures['accuracy']:.4f} ({low:.3f} to {high:.3f}), NLL {figures['nll']:.4f}"


def say_next(run, facts):
    "Say what to do now: where fine-tuning earned nothing, what would."
    if facts.epochs and facts.model in (PROBE, WARM):
        say(f"the {facts.epochs} epochs earned nothing over the {facts.model}, which is kept")
        if run.config["recipe"] != STRONG:
            say(
                "what fine-tunes from a probe and keeps what that knows: python train.py --data"
                f" {run.config['data']} --recipe {STRONG}"
            )
    say(f"next: python predict.py --run {run.words}")


def warn_of_guessing(facts):
    "Say so where the model that is kept knows less than one who knows nothing."
    if scores.guesses(facts):
        say(
            f"this model is worse than guessing (NLL {scores.guessing(len(facts.classes)):.4f}): do"
            " not submit what it says; try a tenth of the --lr"
        )
