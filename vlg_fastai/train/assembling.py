"""Combine finished folds into one run: a model per fold, predictions on all photos, one score.

A fold's model and temperature are chosen on the photos of the other folds alone. So no photo
influences the model that predicts it, and the score needs no correction for the selection.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.model import inference, scores
from vlg_fastai.model.intervals import interval
from vlg_fastai.runs.facts import BLEND, FINE_TUNED, FOLDS, PROBE, UNFINISHED, Facts
from vlg_fastai.runs.landing import together
from vlg_fastai.runs.run import OOF, Run
from vlg_fastai.train import choosing, fold
from vlg_fastai.train.candidates import Candidate, blend, blends
from vlg_fastai.train.evaluate import finish, named, write_predictions
from vlg_fastai.train.prepare import Prepared

DONE = "finished", "dry run"


@dataclass(frozen=True)
class Fold:
    "A finished fold: its run, its photos, and its candidates."

    run: Run
    prepared: Prepared

    @cached_property
    def _read(self):
        table = self.prepared.table
        return fold.read(self.run, list(table.loc[self.prepared.held, "file"]))

    @property
    def fits(self):
        "Whether it was fitted for its current photos and classes."
        return fold.fits(self.run, self.prepared)

    @property
    def found(self):
        return self._read[0]

    @property
    def facts(self):
        return self._read[1]

    @property
    def y(self):
        return self.prepared.labels[self.prepared.held]

    @property
    def groups(self):
        return self.prepared.groups[self.prepared.held]

    @property
    def metric(self):
        return self.prepared.cfg.metric


@dataclass(frozen=True)
class Pool:
    "Predictions of several folds, each on its held-out photos, treated as those of one."

    candidates: list[Candidate]
    y: np.ndarray
    groups: np.ndarray
    metric: str = "nll"

    @classmethod
    def of(cls, folds, names):
        "Pool the candidates of `folds` that are called one of `names`, and blends of them."
        y = np.concatenate([one.y for one in folds])
        groups = np.concatenate([one.groups for one in folds])
        found = [_pooled([_named(one.found, name) for one in folds], y) for name in names]
        there = {one.name: one for one in found}
        if {PROBE, FINE_TUNED} <= set(there):
            found += blends(there[PROBE], there[FINE_TUNED], y)
        return cls(found, y, groups, folds[0].metric)

    @cached_property
    def losses(self):
        return choosing.Losses.of(self.candidates, self.y, self.groups, self.metric)

    @property
    def best(self):
        "The candidate to keep, with its temperature fitted on these photos."
        one = self.candidates[choosing.place_of_best(self.candidates, self.losses)]
        return replace(one, temperature=inference.fit_temperature(one.logits, self.y))


def _named(found, name):
    return next(one for one in found if one.name == name)


def _pooled(parts, y):
    "One Candidate with the predictions of `parts`, one per fold."
    answers = [np.concatenate(z) for z in zip(*(one.answers for one in parts), strict=True)]
    one = replace(parts[0], logits=answers[0], degraded=answers[1] if answers[1:] else None)
    return replace(one, temperature=inference.fit_temperature(one.logits, y))


def assemble(run, prepared, folds, known, asked):
    """Write the combined result of the finished `Fold`s to the folder of `run`; return its Facts.

    known: facts of the run; asked: how many folds there will be.
    """
    names = shared(folds)
    if known["status"] in DONE:
        say_lacking(folds)
    kept = [keep(one, [other for other in folds if other is not one], names) for one in folds]
    probs = [inference.probabilities(one.logits, one.temperature) for one in kept]
    answered = Answered.of(folds, np.concatenate(probs))
    pool = Pool.of(folds, names)
    known = dict(known)
    more = known.pop("refit", [])
    extra = folds[0].prepared.extra
    told = {
        "extra": extra.told if extra else None, **folds[0].facts, **known, "model": FOLDS,
        "candidates": choosing.rows_of(pool.candidates, pool.losses),
        "status": UNFINISHED if len(folds) < asked and known["status"] in DONE else known["status"],
        "folds": [*(row(*pair) for pair in zip(folds, kept, strict=True)), *(more or [])],
    }  # fmt: skip
    return write(run, prepared, answered, told)


def shared(folds):
    "Names of the candidates that all of `folds` have, in order."
    there = [[one.name for one in other.found] for other in folds]
    return [name for name in dict.fromkeys(sum(there, [])) if all(name in own for own in there)]


def say_lacking(folds):
    "Report folds that lack a candidate the others have: only shared ones can be chosen."
    for name in dict.fromkeys(one.name for other in folds for one in other.found):
        lacking = [o.run.path.name for o in folds if name not in {one.name for one in o.found}]
        if lacking:
            say(f"{', '.join(lacking)}: no usable {name} candidate, so every fold leaves it out")


def keep(one, rest, names):
    "Choose the model of the Fold `one` on the photos of the `rest`; write it as a run; return it."
    # a single fold has no others to choose on: it keeps the probe, which has its own temperature,
    # or, without a probe, a net as it is
    best = Pool.of(rest, names).best if rest else one.found[0]
    kept = like(best, one.found)
    finish_as(one, kept)
    return kept


def like(best, found):
    "The Candidate among `found`, or the blend of two of them, that corresponds to `best`."
    if not best.name.startswith(BLEND):
        own = _named(found, best.name)
        return replace(own, temperature=best.temperature or 1.0)
    share, warmth = best.members[1]["share"], [one["temperature"] for one in best.members]
    own = blend(_named(found, PROBE), _named(found, FINE_TUNED), share, warmth)
    return replace(own, temperature=best.temperature)


@dataclass(frozen=True)
class Answered:
    "Table rows (n,) of the photos held out by folds, and their probabilities (n, classes)."

    rows: np.ndarray
    probs: np.ndarray

    @classmethod
    def of(cls, folds, probs):
        "From `probs` fold by fold; put in table order."
        rows = np.concatenate([np.flatnonzero(one.prepared.held) for one in folds])
        order = np.argsort(rows)
        return cls(rows[order], probs[order])


def write(run, prepared, answered, told):
    "Write oof.csv and facts.json of the whole run, under one temperature; return its Facts."
    y, groups = prepared.labels[answered.rows], prepared.groups[answered.rows]
    logs = inference.logs(answered.probs)
    spec = replace(prepared.spec, temperature=inference.fit_temperature(logs, y))
    after = inference.probabilities(logs, spec.temperature)
    figures = scores.summary(answered.probs, after, y, spec.classes)
    likely = interval(after.argmax(1) == y, groups)
    photos = {"train": len(prepared.table), "valid": len(y)}
    figures["metric"] = named(prepared.cfg.metric, after, y)
    with together(run.path) as folder:
        write_predictions(folder / OOF, prepared, logs, spec.temperature, answered.rows)
        facts = Facts(
            **{**told, **spec.facts(), **figures, "accuracy_interval": likely, "photos": photos}
        )
        facts.write(folder)
    return facts


def row(one, best):
    "The entry for one fold in facts.json."
    right = best.logits.argmax(1) == one.y
    return {"run": one.run.path.name, "model": best.name, "photos": len(right),
            "accuracy": float(right.mean())}  # fmt: skip


def refitted(whole, folds, source, cbs=()):
    """Fit the Fold `whole` on all photos and keep in it the candidate that did best over `folds`.

    It is not scored: the run's score is that of the folds, which learned from fewer photos.
    Returns [its entry in facts.json], [] if it lacks that candidate, None if it was stopped.
    """
    if not fold.is_done(whole.run) and not fold.fit(whole.prepared, source, whole.run, cbs):
        return None
    best = Pool.of(folds, shared(folds)).best
    parts = {PROBE, FINE_TUNED} if best.members else {best.name}
    if not parts <= {one.name for one in whole.found}:
        say(f"leaving out {whole.run.path.name}: it has no {best.name}, which the folds chose")
        return []
    kept = like(best, whole.found)
    finish_as(whole, kept)
    return [{"run": whole.run.path.name, "model": kept.name, "photos": 0, "accuracy": None}]


def finish_as(one, kept):
    "Write the candidate `kept` to the folder of the Fold `one`, as an ordinary run."
    told = {**one.facts, "candidates": [], "nested": None}
    finish(one.run, one.prepared, replace(kept, model=fold.weights(one.run, kept)), told)
