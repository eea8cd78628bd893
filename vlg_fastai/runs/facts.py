"""Read and write facts.json, the results of a run, as one typed object."""

from dataclasses import dataclass, field, fields
from typing import get_args, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from vlg_fastai.config import UserError
from vlg_fastai.runs.files import read_json, write_json

FACTS = "facts.json"  # written last: a folder that has it is usable
PROBE, WARM, FINE_TUNED = "probe", "warm start", "fine-tuned"
AVERAGE, BLEND = "average", "blend"  # what names of such models begin with, as in "average 0.5"
SOUP = "soup"  # the model of a run whose weights are the mean of other runs'
FOLDS = "folds"  # the model of a run that averages several
UNFINISHED = "unfinished"  # a run that has only its first candidates so far
NEEDED = ("status", "classes")  # without them it is not one of our runs
LEFT_OUT = ("probe", "soup", "metric", "extra")  # facts that are not written when a run lacks them


def called(model):
    "The name of a `model` as it is shown: an average is one of weights, not of predictions."
    return f"weight {model}" if model.startswith(AVERAGE) else model


def _as_hinted(value, hint):
    "JSON has no tuples."
    return tuple(value) if tuple in get_args(hint) and isinstance(value, list) else value


def _fits(value, hint):
    try:
        check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError:
        return False
    return True


def merged_extra(runs):
    """Facts of photos from elsewhere of several runs as one: those of the run that used most, with
    what all of them say of origin and of classes that only they show; None where no run used any.
    """
    told = [run.facts.extra for run in runs if run.facts.extra]
    if not told:
        return None
    joined = {key: sorted({word for one in told for word in one.get(key) or []})
              for key in ("about", "strange")}  # fmt: skip
    return {**max(told, key=lambda one: one.get("used", 0)), **joined}


@dataclass(frozen=True)
class Facts:
    """All of facts.json; None or empty where a run has no such fact or predates it.

    Figures are for the held-out photos and the model that is kept. `view` says how photos are shown
    to it, `prior` is the share of each of the `classes` in training.
    """

    status: str | None = None  # finished, interrupted, dry run, unfinished
    lr: float | None = None
    lr_body: float | None = None
    best_epoch: int | None = None  # if the held-out photos chose one
    epochs: int = 0
    photos_per_second: float | None = None  # in training, median of the epochs
    probe: dict | None = None  # strength and figures out of fold, if there was one
    model: str = FINE_TUNED  # which candidate is kept; the oldest runs had no choice
    # {model, nll, accuracy} of each; nll_degraded, accuracy_degraded if degraded copies judged it
    candidates: list[dict] = field(default_factory=list)
    # accuracy, accuracy_interval, nll of predictions whose model and temperature were chosen
    # without the photo; None without a choice
    nested: dict | None = None
    arch: str | None = None
    head: str | None = None
    # {run, model, photos, accuracy} of each net of a run of folds, folders inside this one
    folds: list[dict] = field(default_factory=list)
    soup: list[str] | None = None  # the runs whose weights this one averages
    # of a blend: {head, share, temperature} of each
    members: list[dict] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    view: dict = field(default_factory=dict)
    prior: list[float | None] = field(default_factory=list)
    temperature: float | None = None
    accuracy: float | None = None
    accuracy_interval: tuple | None = None  # 95 %, near-duplicates counted once
    macro_f1: float | None = None
    metric: dict | None = None  # {name, value} of the figure that --metric names
    nll_before: float | None = None  # before calibration
    nll: float | None = None
    ece_before: float | None = None
    ece: float | None = None
    recall: dict = field(default_factory=dict)
    photos: dict = field(default_factory=dict)  # {"train": number, "valid": number}
    # of photos from elsewhere: their folders, classes that only they show, what they are worth
    extra: dict | None = None
    weights: dict = field(default_factory=dict)  # {"from": kind, "file": name}
    seconds: float = 0.0
    device: str | None = None
    precision: str | None = None
    workers: int | None = None
    ranks: int = 1  # processes that trained the net together
    versions: dict = field(default_factory=dict)
    platform: str | None = None
    git: str | None = None
    command: list = field(default_factory=list)
    resumed_at: list[str] = field(default_factory=list)  # when it was resumed

    @classmethod
    def read(cls, folder):
        "Read the facts in the run folder; UserError if they are damaged. Ignores unknown ones."
        told, hints = read_json(folder / FACTS), get_type_hints(cls)
        known = {key: _as_hinted(told[key], hints[key]) for key in hints if key in told}
        odd = [key for key in NEEDED if not told.get(key)]
        odd += [key for key in known if key not in odd and not _fits(known[key], hints[key])]
        if odd:
            raise UserError(f"--run {folder}: {FACTS} is damaged ({', '.join(odd)}); train again")
        return cls(**known)

    def write(self, folder):
        write_json(folder / FACTS, self.named())

    def named(self):
        "{name: value} as written to facts.json."
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: v for key, v in told.items() if v is not None or key not in LEFT_OUT}

    @property
    def is_probe(self):
        "Whether the model is linear on a frozen backbone, fitted on all labelled photos."
        return self.model == PROBE

    @property
    def of_epoch(self):
        "The epoch of the kept model, or of the net that is a part of it; None for one without."
        return None if self.model in (PROBE, WARM) else self.best_epoch

    @property
    def held_out(self):
        "Number of held-out photos."
        return self.photos.get("valid", 0)
