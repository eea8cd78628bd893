"""Weight several runs in the mean of their predictions, judged on photos that none of them saw.

Shares are found by greedy selection with replacement (Caruana et al., 2004). Whether they help is
judged on parts of the shared photos that were not used to choose them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.model import inference
from vlg_fastai.model.intervals import clearly, interval
from vlg_fastai.runs.blends import NAME, WAYS, read, stored
from vlg_fastai.runs.facts import FACTS, PROBE
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.find import twins_among
from vlg_fastai.runs.predictions import answers, keys_of
from vlg_fastai.runs.run import CANDIDATES, OOF, Run

ROUNDS = 50  # of the selection: no share is finer than a fiftieth
PARTS = 5  # of the shared photos: shares found on four are judged on the fifth
FEW = 50  # shared photos needed to estimate shares


@dataclass(frozen=True)
class Blended:
    """Runs to predict with, the share of each, a temperature for their mean, and a table like
    valid.csv of such means' predictions on photos that none saw, with shares chosen on other
    photos; None where the runs have too few such photos in common."""

    runs: list[Run]
    shares: np.ndarray
    temperature: float = 1.0
    table: pd.DataFrame | None = None
    facts: dict | None = None

    @classmethod
    def evenly(cls, runs):
        return cls(runs, np.full(len(runs), 1 / len(runs)))

    def mixed(self, answered, average):
        "(probabilities, classes) of the blend from those of its runs."
        probs, classes = average(answered, self.shares)
        if self.temperature == 1:  # each is calibrated; nothing is known about their mean
            return probs, classes
        return inference.retempered(probs, self.temperature), classes


@dataclass(frozen=True)
class Shared:
    """Predictions of runs on the photos that none saw: probs (runs, n, classes), y (n,), groups
    (n,), labels (n,), and files (runs, n), each run's name for the photo."""

    runs: list[Run]
    probs: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    files: np.ndarray

    @property
    def own(self):
        "(runs, n) probabilities of the photos' labels."
        return np.maximum(self.probs[:, np.arange(len(self.y)), self.y], inference.LEAST)


def weigh(cfg, chosen):
    "The `Blended` runs `chosen`, weighted as --blend asks, or by default as helps most."
    if cfg.blend not in (None, *WAYS):
        return repeated(cfg, chosen)
    if len(chosen) == 1:
        return Blended.evenly(chosen)
    found = shared(chosen if cfg.blend == "mean" else [*chosen, *probes_of(chosen)])
    if (lack := lacking(found, len(chosen))) and cfg.blend != "greedy":
        say(f"{lack}; using equal weights")
        return Blended.evenly(chosen)
    return settled(cfg, enough(found, len(chosen), "--blend greedy"), len(chosen))


def lacking(found, named):
    "What the `Shared` predictions `found` of `named` runs lack to weight the runs by; else None."
    there = 0 if found is None else len(found.y)
    if there >= FEW:
        return None
    return (f"{there} labelled photos were held out from all {named} runs, but weighting them takes"
            f" {FEW}")  # fmt: skip


def enough(found, named, option):
    "`found`; UserError, naming `option`, if it lacks photos."
    if lack := lacking(found, named):
        raise UserError(f"{option}: {lack}; try --blend mean")
    return found


def repeated(cfg, chosen):
    "The blend stored in a blend.json."
    told = read(cfg.blend)
    say(f"{cfg.blend}: reusing its shares and temperature")
    return Blended(chosen, np.array(told["shares"]), told["temperature"], None, told)


def probes_of(chosen):
    "The probes that runs of other models also hold: a different kind of model at little cost."
    beside = [run.path / CANDIDATES / PROBE for run in chosen if not run.facts.is_probe]
    found = [Run(path) for path in beside if (path / FACTS).exists()]
    same = twins_among([*chosen, *found])
    return [run for i, run in enumerate(found, len(chosen)) if i not in same]


def shared(runs):
    "The `Shared` predictions of `runs`; None where they have no such photos in common."
    tables = [_answered(run) for run in runs]
    classes = runs[0].facts.classes
    for run in runs:
        if set(run.facts.classes) != set(classes):
            odd = sorted(set(run.facts.classes) ^ set(classes))[:3]
            raise UserError(f"--run: cannot blend runs with different classes, e.g. {odd}")
    keys = [keys_of(*one) for one in zip(runs, tables, strict=True)]
    common = [key for key in keys[0] if all(key in other for other in keys[1:])]
    if not common:
        return None
    probs, files, y = [], [], None
    for run, table, known in zip(runs, tables, keys, strict=True):
        rows = pd.Index(list(known), tupleize_cols=False).get_indexer(common)
        own, told = answers(run, table)
        order = [run.facts.classes.index(name) for name in classes]
        probs.append(told[rows][:, order])
        files.append(table.iloc[rows, 0].to_numpy())
        y = own[rows] if y is None else y
    groups = np.array([keys[0][key] for key in common])
    labels = np.array(classes, dtype=object)[y]
    return Shared(runs, np.stack(probs), y, groups, labels, np.stack(files))


def _answered(run):
    "Predictions of `run` on photos that it did not see; out of fold for a probe of all photos."
    home = run.path.parent.parent if run.path.parent.name == CANDIDATES else run.path
    path = home / OOF if run.facts.is_probe and (home / OOF).exists() else run.answers
    return read_csv(path, np.float64)


def greedy(own):
    """(runs,) shares of least mean loss, from probabilities `own` (runs, n) of the correct class.

    Each round adds the run that improves the mean most, whether or not it is in it already; the
    best round counts.
    """
    counts, total, best = np.zeros(len(own)), np.zeros(own.shape[1]), (np.inf, None)
    for size in range(1, ROUNDS + 1):
        losses = -np.log((total + own) / size).mean(1)
        i = int(np.argmin(losses))
        counts[i] += 1
        total = total + own[i]
        if losses[i] < best[0] - 1e-9:
            best = losses[i], counts / size
    return best[1]


def alone(own):
    "(runs,) shares that give everything to the run of least loss."
    return np.eye(len(own))[int(np.argmin(-np.log(own).mean(1)))]


def ways(named):
    "{way: function from `own` to shares}, simplest first; the user named the first `named` runs."

    def mean(own):
        return (np.arange(len(own)) < named) / named

    return {"best": alone, "mean": mean, "greedy": greedy}


def nested(found, way):
    "Probabilities (n, classes) with shares and temperature fitted on other photos."
    parts = min(PARTS, len(np.unique(found.groups)))
    probs = np.zeros(found.probs.shape[1:])
    for others, part in GroupKFold(parts).split(found.y, found.y, found.groups):
        shares = way(found.own[:, others])
        warmth = inference.fit_temperature(_logs(shares, found.probs[:, others]), found.y[others])
        probs[part] = inference.probabilities(_logs(shares, found.probs[:, part]), warmth)
    return probs


def losses_of(probs, y):
    "(n,) loss of each photo, in nats."
    return -inference.logs(probs[np.arange(len(y)), y])


def _logs(shares, probs):
    return inference.logs(np.tensordot(shares, probs, 1))


def settled(cfg, found, named):
    "The `Blended` way that --blend names, or the simplest that no other beats beyond noise."
    judged = {name: nested(found, way) for name, way in ways(named).items()}
    losses = {name: losses_of(probs, found.y) for name, probs in judged.items()}
    kept = cfg.blend or "best"
    if cfg.blend is None:
        for name in judged:
            if clearly(losses[kept] - losses[name], found.groups):
                kept = name
    shares = ways(named)[kept](found.own)
    warmth = inference.fit_temperature(_logs(shares, found.probs), found.y)
    used = np.flatnonzero(shares)
    rows = {name: figures(found, probs) for name, probs in judged.items()}
    written = f"; {NAME} beside the submission reproduces it"
    say_choice(found, rows, kept, shares, "" if cfg.photos else written)
    answered = as_table(found, used[0], judged[kept])
    runs = [found.runs[i] for i in used]
    facts = stored(runs, shares[used], warmth, {"kept": kept, "photos": len(found.y), **rows})
    return Blended(runs, shares[used], warmth, answered, facts)


def figures(found, probs):
    "Scores of `probs` (n, classes) on the `Shared` photos."
    right = probs.argmax(1) == found.y
    return {"accuracy": float(right.mean()), "accuracy_interval": interval(right, found.groups),
            "nll": float(losses_of(probs, found.y).mean())}  # fmt: skip


def as_table(found, place, probs):
    "`probs` (n, classes) as a table like the valid.csv of run number `place`."
    table = pd.DataFrame(probs, columns=found.runs[0].facts.classes)
    table.insert(0, "label", found.labels, allow_duplicates=True)
    table.insert(0, "file", found.files[place], allow_duplicates=True)
    return table


def say_figures(rows, photos, kept):
    "Print each way's scores on the shared `photos`, and which one is kept."
    cells = [(name, f"{one['accuracy']:.4f}", f"{one['nll']:.4f}") for name, one in rows.items()]
    title = f"on {photos} photos that no run saw, each way fitted on others; kept: {kept}"
    show(title, ["way", "accuracy", "NLL"], cells)


def say_choice(found, rows, kept, shares, more):
    "Print each way's scores, and the blend that is used; `more` ends the line."
    say_figures(rows, len(found.y), kept)
    told = zip(found.runs, shares, strict=True)
    pairs = [f"{share:.2f} {run.called}" for run, share in told if share]
    say(f"blend: {', '.join(pairs)}{more}")
