"""A run and a folder of test photos in, what its frozen backbone makes of both sides out."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from vlg_fastai import runs
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import decisions, folder, twins
from vlg_fastai.data.store import Store
from vlg_fastai.model import probe, sources
from vlg_fastai.model.bundle import Card
from vlg_fastai.model.features import Frozen
from vlg_fastai.unseen.folds import Labelled, UnavailableError, gather


@dataclass(frozen=True)
class Scene:
    """Labelled photos (`shown`) and test photos (`asked`) as tables of path and content, and the
    backbone that the run started from: fine-tuning has seen every class, so it is no judge.

    Test photos that cannot be read any more are not in `asked`.
    """

    card: Card
    frozen: Frozen
    shown: pd.DataFrame
    asked: pd.DataFrame
    seed: int

    @classmethod
    def of(cls, run, cfg, asked, machine, store=None):
        "The Scene of `run`, or UnavailableError with the reason."
        store = store or Store.of(cfg)
        card = Card.of(run)
        frozen = _frozen(_source(run, card), card.view, machine, store)
        data = folder.of_run(cfg, run)
        shown = _replayed(runs.read_csv(run.path / runs.SPLIT), decided(run, cfg))
        shown["path"] = [data / file for file in shown["file"]]
        lost = frozen.lost(shown) or int((~_seen(frozen, card, shown, now=False)).sum())
        if lost:
            raise UnavailableError(
                f"{lost} of the run's photos are not in {data} as they were; see --data"
            )
        asked = asked[_seen(frozen, card, asked)].reset_index(drop=True)
        return cls(card, frozen, shown, asked, run.config["seed"])

    @cached_property
    def labelled(self):
        "The `Labelled` photos; their out-of-fold logits are those that the run kept, if it did."
        pixels = self.card.view.pixels(self.shown, self.frozen.store, now=False)
        x = self.frozen.features(self.shown, pixels)
        numbers = {label: i for i, label in enumerate(self.card.classes)}
        y = self.shown["label"].map(numbers).to_numpy(int)
        groups = self.shown["group"].to_numpy()
        fold = probe.out_of_fold(x, y, groups, len(self.card.classes), self.frozen.store, self.seed)
        return Labelled(x, y, groups, fold, self.seed)

    @cached_property
    def test(self):
        "(m, d) features of the test photos."
        pixels = self.card.view.pixels(self.asked, self.frozen.store)
        return self.frozen.features(self.asked, pixels)

    @cached_property
    def evidence(self):
        "What folds say of known, pseudo-unseen and test photos; an error for too few photos."
        if not len(self.asked):
            raise UnavailableError("no test photo can be read")
        return gather(self.labelled, self.test)

    @cached_property
    def kin(self):
        "(m,) near-duplicate groups of the test photos among themselves."
        return twins.groups_of(self.asked)

    @cached_property
    def own_logits(self):
        "Logits of the backbone's own classifier for (labelled, test) photos."
        return tuple(self.frozen.own_logits(side) for side in (self.shown, self.asked))

    @cached_property
    def known(self):
        "(features, labels) of the labelled photos without doubt."
        rows = self.labelled.sound
        return self.labelled.x[rows], self.labelled.y[rows]


def decided(run, cfg):
    "The `Decisions` for the photos of `run`: those asked for, or those it was trained with."
    asked = cfg.decisions or run.config.get("decisions")
    return decisions.read(decisions.find(asked and Path(asked), folder.of_run(cfg, run)))


def _replayed(split, made):
    "The photos in use, labelled as decided by now; said where that is not what the run was taught."
    given = split.get("folder", split["label"])  # runs of before there were decisions have none
    dropped = split["problem"] == decisions.DROPPED
    again = made.replayed(split.assign(label=given, problem=split["problem"].mask(dropped, "")))
    made.report(again)
    now = again["problem"] == decisions.DROPPED
    used = split["split"] != "unused"
    changed = int((now != dropped).sum() + (used & ~now & (again["label"] != split["label"])).sum())
    if changed:
        say(f"{changed} of these decisions are other than when the run was trained: train again")
    kept = again[used & ~now & again["label"].isin(split.loc[used, "label"])]
    return kept.reset_index(drop=True)


def _seen(frozen, card, photos, now=True):
    "(n,) True where the frozen backbone has features of one of `photos`, made here if need be."
    return frozen.look(photos, card.view.pixels(photos, frozen.store, now))


def _frozen(source, view, machine, store):
    "The frozen backbone; what its weights have against it is a reason here, no mistake."
    try:
        return Frozen.of(source, view, machine, store)
    except UserError as error:
        raise UnavailableError(str(error)) from None


def _source(run, card):
    "Where the weights come from that the run started with."
    weights = run.facts["weights"]
    if weights["from"] == "nothing":
        raise UnavailableError("the run started from no trained weights")
    asked = run.config.get("weights")
    if weights["from"] == "file" and not Path(asked).is_file():
        raise UnavailableError(f"the weights it started from, {asked}, are not there any more")
    try:
        file = Path(asked) if weights["from"] == "file" else None
        return sources.choose(card.arch, file, True)
    except UserError as error:
        raise UnavailableError(str(error)) from None
