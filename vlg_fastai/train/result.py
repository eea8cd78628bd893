"""Report what a finished run scored and what to do next."""

from collections import Counter

from vlg_fastai.console import clock, say
from vlg_fastai.model import scores
from vlg_fastai.recipes import STRONG
from vlg_fastai.runs.facts import FINE_TUNED, PROBE, WARM, called
from vlg_fastai.runs.resume import clear
from vlg_fastai.train import choosing

FEW_HELD_OUT = 30  # below it an accuracy is known to less than 10 points either way


def settled(run):
    "Report `run` and return it; remove its checkpoints unless it can be resumed."
    if not run.can_go_on:
        clear(run)
    say_result(run, run.facts)
    return run


def say_result(run, facts):
    "Report how good the run is, how certain that is, and where it is saved."
    if facts.accuracy is None:
        say("no validation photos: the run has no score")
    else:
        if facts.held_out < FEW_HELD_OUT:
            say(f"only {facts.held_out} photos are held out: too few to score or calibrate on")
        say_folds(run, facts) if facts.folds else say_score(facts)
        if facts.metric:
            say(f"--metric: {facts.metric['name']} {facts.metric['value']:.4f}")
        warn_of_guessing(facts)
    if facts.ranks > 1:
        say(
            f"trained by {facts.ranks} processes on {facts.device.split(':')[0]}; in training,"
            " BatchNorm statistics were each process's own"
        )
    kept = "" if facts.folds else f", kept: {called(facts.model)}{of_epoch(facts)}"
    say(f"{facts.status} in {clock(facts.seconds)}{kept}; run saved in {run.path}")
    say_next(run, facts)


def of_epoch(facts):
    if not facts.of_epoch:
        return ""
    whose = "best epoch" if facts.model == FINE_TUNED else "its net is of epoch"
    return f", {whose} {facts.of_epoch}"


def say_folds(run, facts):
    "Report what a run of folds scored, and what its nets are."
    kinds = Counter(one["model"] for one in facts.folds)
    choosing.say_choice(
        facts.candidates, ", ".join(f"{n} x {called(kind)}" for kind, n in kinds.items())
    )
    missing = run.config["folds"] + run.refitted - len(facts.folds)
    nets = f"{missing} nets are" if missing > 1 else "1 net is"
    less = f"; {nets} missing: train.py --resume {run.words}" if missing else ""
    say(
        f"{len(facts.folds)} nets: {in_words(facts.named())}, macro-F1 {facts.macro_f1:.4f};"
        f" {facts.held_out} photos, each predicted by the net that never saw it{less}"
    )


def say_score(facts):
    """Report the score on the held-out photos. If they chose the model, the nested score, chosen
    without each photo, comes first, since the model that is kept looks better than it is."""
    own = (
        f"{in_words(facts.named())}, macro-F1 {facts.macro_f1:.4f}, ECE {facts.ece_before:.3f} ->"
        f" {facts.ece:.3f}"
    )
    if not facts.nested:
        say(f"validation: {own}; {facts.held_out} photos")
        return
    but = " (but not the epoch)" if facts.best_epoch else ""
    say(
        f"validation: {in_words(facts.nested)}; {facts.held_out} photos, each predicted by a model"
        f" and temperature{but} chosen without it"
    )
    say(f"the model that is kept, chosen on all of them: {own}")


def in_words(figures):
    low, high = figures["accuracy_interval"]
    return f"accuracy {figures['accuracy']:.4f} ({low:.3f} to {high:.3f}), NLL {figures['nll']:.4f}"


def say_next(run, facts):
    "Suggest what to do next: if fine-tuning gained nothing, what might."
    if facts.epochs and facts.model in (PROBE, WARM):
        s = "s" * (facts.epochs != 1)
        say(f"{facts.epochs} epoch{s} gained nothing over the {facts.model}, which is kept")
        if run.config["recipe"] != STRONG:
            say(
                "to fine-tune from a probe and keep what it knows: python train.py --data"
                f" {run.config['data']} --recipe {STRONG}{elsewhere(run.config)}"
            )
    say(f"next: python predict.py --run {run.words}")


def elsewhere(config):
    "The options of a run that name photos from elsewhere, as they are written."
    folders = "".join(f" {folder}" for folder in config["extra"])
    pseudo = f" --pseudo {config['pseudo']}" if config["pseudo"] else ""
    return f"{f' --extra{folders}' if folders else ''}{pseudo}"


def warn_of_guessing(facts):
    "Warn if the model that is kept is worse than guessing."
    if scores.guesses(facts):
        say(
            f"this model is worse than guessing (NLL {scores.guessing(len(facts.classes)):.4f}): do"
            " not submit its predictions; try a tenth of the --lr"
        )
