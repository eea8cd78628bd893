"""Several runs in, how much each says in their mean out: judged on photos that none of them saw.

Shares are found by greedy selection with replacement (Caruana et al., 2004). Whether they are worth
it is judged on parts of the shared photos that had no say in them.
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
PARTS = 5  # of the shared photos: what is found on four is judged on the fifth
FEW = 50  # shared photos below which no share can be told


@dataclass(frozen=True)
class Blended:
    """Runs that answer, the share of each, a temperature for their mean, and a table like valid.csv
    of what such means answer on photos that none saw, by shares that others gave; None where they
    have too few such photos in common."""

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
        if self.temperature == 1:  # each is calibrated, and nothing is known of their mean
            return probs, classes
        return inference.retempered(probs, self.temperature), classes


@dataclass(frozen=True)
class Shared:
    """What runs answer on the photos that none saw: probs (runs, n, classes), y (n,), groups (n,),
    labels (n,), and files (runs, n), what each run calls the photo."""

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
    "The `Blended` answer of the runs `chosen`, as --blend asks for it, or as pays."
    if cfg.blend not in (None, *WAYS):
        return repeated(cfg, chosen)
    if len(chosen) == 1:
        return Blended.evenly(chosen)
    found = shared(chosen if cfg.blend == "mean" else [*chosen, *probes_of(chosen)])
    try:
        return settled(cfg, enough(found, len(chosen), "--blend greedy"), len(chosen))
    except TooFewError as reason:
        if cfg.blend == "greedy":
            raise
        say(f"{reason}; each counts the same")
        return Blended.evenly(chosen)


class TooFewError(UserError):
    "Runs have too few photos in common that none of them saw."


def enough(found, named, option):
    "The `Shared` answers `found` of so many runs; TooFewError where they cannot tell `option`."
    there = 0 if found is None else len(found.y)
    if there < FEW:
        raise TooFewError(
            f"{option}: {there} labelled photos were kept from all {named} of the runs, and it"
            f" takes {FEW} to weigh them; try --blend mean"
        )
    return found


def repeated(cfg, chosen):
    "The blend of a blend.json."
    told = read(cfg.blend)
    say(f"{cfg.blend}: the shares and the temperature of then")
    return Blended(chosen, np.array(told["shares"]), told["temperature"], None, told)


def probes_of(chosen):
    "The probes that runs of other models hold beside them: an answer of another kind, for little."
    beside = [run.path / CANDIDATES / PROBE for run in chosen if not run.facts.is_probe]
    found = [Run(path) for path in beside if (path / FACTS).exists()]
    same = twins_among([*chosen, *found])
    return [run for i, run in enumerate(found, len(chosen)) if i not in same]


def shared(runs):
    "The `Shared` answers of `runs`; None where their classes or photos have nothing in common."
    tables = [_answered(run) for run in runs]
    classes = runs[0].facts.classes
    for run in runs:
        if set(run.facts.classes) != set(classes):
            odd = sorted(set(run.facts.classes) ^ set(classes))[:3]
            raise UserError(f"--run: runs of different classes cannot be blended, e.g. {odd}")
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
    "What `run` said of photos that it did not see: of a probe of all photos, out of fold."
    home = run.path.parent.parent if run.path.parent.name == CANDIDATES else run.path
    path = home / OOF if run.facts.is_probe and (home / OOF).exists() else run.answers
    return read_csv(path, np.float64)


def greedy(own):
    """(runs,) shares of least mean loss, from probabilities `own` (runs, n) of the right class.

    In each round the run joins whose answers help the mean most, again or for the first time; the
    best of all rounds counts.
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
    "The same for the one run of least loss."
    return np.eye(len(own))[int(np.argmin(-np.log(own).mean(1)))]


def ways(named):
    "{way: function from `own` to shares}, the simplest first; `named` runs were asked for."

    def mean(own):
        return (np.arange(len(own)) < named) / named

    return {"best": alone, "mean": mean, "greedy": greedy}


def nested(found, way):
    "Probabilities (n, classes) of answers whose shares and temperature other photos gave."
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
    "The `Blended` way that --blend names, or the simplest that none beats by more than noise."
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
    say_choice(found, rows, kept, shares)
    answered = as_table(found, used[0], judged[kept])
    runs = [found.runs[i] for i in used]
    facts = stored(runs, shares[used], warmth, {"kept": kept, "photos": len(found.y), **rows})
    return Blended(runs, shares[used], warmth, answered, facts)


def figures(found, probs):
    "What `probs` (n, classes) score on the `Shared` photos."
    right = probs.argmax(1) == found.y
    return {"accuracy": float(right.mean()), "accuracy_interval": interval(right, found.groups),
            "nll": float(losses_of(probs, found.y).mean())}  # fmt: skip


def as_table(found, place, probs):
    "`probs` (n, classes) as a table like valid.csv of the run at that place."
    table = pd.DataFrame(probs, columns=found.runs[0].facts.classes)
    table.insert(0, "label", found.labels, allow_duplicates=True)
    table.insert(0, "file", found.files[place], allow_duplicates=True)
    return table


def say_figures(rows, photos, kept):
    "Say what each way scores on so many shared photos, and which is kept."
    cells = [(name, f"{one['accuracy']:.4f}", f"{one['nll']:.4f}") for name, one in rows.items()]
    title = f"on {photos} photos that no run saw, each way chosen by others; kept: {kept}"
    show(title, ["way", "accuracy", "NLL"], cells)


def say_choice(found, rows, kept, shares):
    "Say what each way would score, and what is taken."
    say_figures(rows, len(found.y), kept)
    told = zip(found.runs, shares, strict=True)
    pairs = [f"{share:.2f} {run.called}" for run, share in told if share]
    say(f"answers: {', '.join(pairs)}; {NAME} beside the submission repeats it")
