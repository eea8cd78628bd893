"""Build a row for each run that held out the same photos: score, interval, verdict, options."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vlg_fastai.compare import paired
from vlg_fastai.model.intervals import wilson
from vlg_fastai.model.metrics import LOW
from vlg_fastai.recipes import RECIPES
from vlg_fastai.runs.run import Run

NO_MATTER = {  # paths and speed: they cannot explain a difference in score
    "runs", "name", "data", "decisions", "cache", "cache_gb", "workers", "tensorboard", "wandb",
    "devices",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    "One run beside the others: figures on the shared photos, and how certain a difference is."

    run: Run
    accuracy: float
    interval: tuple[float, float]
    nll: float
    figure: float  # what the runs are compared by
    difference: float
    likely: tuple[float, float]
    p: float
    verdict: str
    options: str

    @property
    def seconds(self):
        return self.run.facts.seconds

    @property
    def speed(self):
        return self.run.facts.photos_per_second


def rows(place, by, reference=None):
    "[Row] of a Together, compared with `reference` (a Run in it) or else the best by figure `by`."
    scores = -place.deciding
    at = _best(place, by) if reference is None else _place_of(place, reference)
    found = paired.against(scores, place.groups, at, chosen=reference is None)
    told = differing([run.config for run in place.runs])
    right, loss = place.right.mean(1), place.nll.mean(1)
    intervals = wilson(place.right, place.groups)
    made = []
    for i, run in enumerate(place.runs):
        own = "best" if reference is None else "reference"
        sign = -1 if by in LOW else 1
        ends = sorted((sign * float(found.low[i]), sign * float(found.high[i])))
        made.append(Row(
            run, float(right[i]), tuple(map(float, intervals[i])), float(loss[i]),
            value_of(by, place.deciding[i]),
            sign * float(found.difference[i]), tuple(ends), float(found.p[i]),
            own if i == at else found.verdict(i), told[i],
        ))  # fmt: skip
    return made


def value_of(by, losses):
    "The figure `by` of a run whose photos have these `losses` (n,)."
    return float(losses.mean() if by in LOW else 1 - losses.mean())


def _best(place, by):
    "The number of the run with the best figure; a second figure breaks ties."
    other = place.nll if by == "accuracy" else -place.right
    return int(np.lexsort((other.mean(1), place.deciding.mean(1)))[0])


def _place_of(place, reference):
    return next(i for i, run in enumerate(place.runs) if run.path == reference.path)


def in_words(made, by):
    "The verdict on the rows `made` as a sentence: whether one run is better by more than noise."
    first = next(row for row in made if row.verdict in ("best", "reference"))
    count = Counter(row.verdict for row in made)
    others, name = len(made) - 1, first.run.path.name
    s, unsure = "s" * (others != 1), count["cannot tell"]
    if first.verdict == "reference":
        parts = [f"{count[word]} {word}" for word in ("better", "worse") if count[word]]
        parts += [f"{unsure} cannot be told from it"] * bool(unsure)
        return f"against {name}, of {others} other run{s}: {', '.join(parts)}"
    if unsure == others:
        told = "the other run cannot" if others == 1 else f"none of the {others} other runs can"
        return f"{name} has the best {by}, but no run is clearly better: {told} be told from it"
    if not unsure:
        return f"{name} is better than the {others} other run{s}, by more than noise"
    worse = f"{count['worse']} of the {others} other run{s} by more than noise"
    return f"{name} is better than {worse}; {unsure} cannot be told from it"


def differing(configs):
    "Options in which each run differs from most runs, except those that its recipe implies."
    keys = sorted(set().union(*configs) - NO_MATTER)
    told = [{key: value(config.get(key)) for key in keys} for config in configs]
    most = {key: Counter(one[key] for one in told).most_common(1)[0][0] for key in keys}
    implied = [RECIPES.get(config.get("recipe"), {}) for config in configs]
    return [
        ", ".join(
            f"{key} {one[key]}"
            for key in keys
            if one[key] != most[key] and not (key in recipe and one[key] == value(recipe[key]))
        )
        for one, recipe in zip(told, implied, strict=True)
    ]


def value(given):
    if isinstance(given, list | tuple):
        return " ".join(map(str, given)) or "none"
    return "-" if given is None else f"{given:g}" if isinstance(given, float) else str(given)


SORTS = {
    "score": lambda row, by: row.figure if by in LOW else -row.figure,
    "run": lambda row, by: row.run.number,
    "seconds": lambda row, by: row.seconds,
    "speed": lambda row, by: -(row.speed or 0),
}
