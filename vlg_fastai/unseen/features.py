"""Features of a run's labelled photos and of test photos, by its frozen starting backbone."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import decisions, folder, listing, twins
from vlg_fastai.data.recall import digest, recalled
from vlg_fastai.data.store import Store
from vlg_fastai.model import probe, sources
from vlg_fastai.model.bundle import ModelSpec
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.unseen.adapt import Model, moved
from vlg_fastai.unseen.evidence import Evidence
from vlg_fastai.unseen.folds import Labelled, UnavailableError, check, gather

MADE = 1  # the next number where scores, figures or forecasts are computed differently


@dataclass(frozen=True)
class RunFeatures:
    """Labelled photos (`shown`) and test photos (`asked`) as tables of path and content, and the
    backbone that the run started from: fine-tuning has seen every class, so it cannot judge.

    Test photos that can no longer be read are not in `asked`.
    """

    spec: ModelSpec
    extractor: FeatureExtractor
    shown: pd.DataFrame
    asked: pd.DataFrame
    seed: int

    @classmethod
    def of_run(cls, run, cfg, asked, machine, store=None):
        "The RunFeatures of `run`, or UnavailableError with the reason."
        store = store or Store.asked_for(cfg)
        spec = ModelSpec.of_run(run)
        extractor = started_from(run, spec, machine, store)
        data = folder.of_run(cfg, run)
        shown = _replayed(listing.of_run(run, data), decided(run, cfg))
        lost = extractor.lost(shown) or int((~_seen(extractor, spec, shown, now=False)).sum())
        if lost:
            raise UnavailableError(
                f"{lost} of the run's photos are not in {data} or have changed; see --data"
            )
        asked = asked[_seen(extractor, spec, asked)].reset_index(drop=True)
        return cls(spec, extractor, shown, asked, run.config["seed"])

    @cached_property
    def labelled(self):
        "The `Labelled` photos, with the out-of-fold logits that the run stored, if it did."
        pixels = self.spec.view.pixels(self.shown, self.extractor.store, now=False)
        x = self.extractor.features(self.shown, pixels)
        numbers = {label: i for i, label in enumerate(self.spec.classes)}
        y = self.shown["label"].map(numbers).to_numpy(int)
        groups = self.shown["group"].to_numpy()
        fold = probe.out_of_fold(
            x, y, groups, len(self.spec.classes), self.extractor.store, self.seed
        )
        return Labelled(x, y, groups, fold, self.seed)

    @cached_property
    def test(self):
        "(m, d) features of the test photos."
        pixels = self.spec.view.pixels(self.asked, self.extractor.store)
        return self.extractor.features(self.asked, pixels)

    @cached_property
    def model(self):
        "The `Model` of all labelled photos."
        check(self.labelled)
        return Model.whole(self.labelled)

    @cached_property
    def moved(self):
        "(m, d) features of the test photos without their shared offset."
        check(self.labelled)
        return moved(self.labelled, self.test.astype(np.float32))

    @cached_property
    def key(self):
        "Identifies the labelled photos, what the probe says of them, and the test photos."
        known, told = self.labelled, self.labelled.fold
        facts = np.array([known.seed, told.strength, len(known.y), len(self.test)])
        return digest(known.x, known.y, known.groups, told.logits, self.test, facts)

    def recalled(self, what, make, *more):
        """{name: array} that `make()` computes from these photos and the arrays `more`, or the same
        as an earlier command stored it."""
        key = digest(np.frombuffer(self.key.encode(), np.uint8), *more)
        shelf = self.extractor.store.shelf(what, MADE, key)  # its own: one file to open
        return recalled(shelf, key, make)

    @cached_property
    def _evidences(self):
        if not len(self.asked):
            raise UnavailableError("no test photo can be read")
        both = Evidence.of_arrays(self.recalled("evidence", self._gathered))
        sides = both.tests[:, : len(self.test)], both.tests[:, len(self.test) :]
        return [dataclasses.replace(both, tests=tests) for tests in sides]

    def _gathered(self):
        sides = np.concatenate([self.test.astype(np.float32), self.moved])
        return gather(self.labelled, sides).arrays

    @property
    def evidence(self):
        "Scores of known, pseudo-unseen and test photos by folds; an error for too few photos."
        return self._evidences[0]

    @property
    def moved_evidence(self):
        "The same for the test photos as they were `moved`."
        return self._evidences[1]

    @cached_property
    def kin(self):
        "(m,) near-duplicate groups among the test photos."
        return twins.groups_of(self.asked)

    @cached_property
    def own_logits(self):
        "Logits of the backbone's own classifier for (labelled, test) photos."
        return tuple(self.extractor.own_logits(side) for side in (self.shown, self.asked))

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
    "The photos in use, with current decisions applied; reports any changed since training."
    given = split.get("folder", split["label"])  # runs older than decisions have no such column
    dropped = split["problem"] == decisions.DROPPED
    again = made.replayed(split.assign(label=given, problem=split["problem"].mask(dropped, "")))
    made.say(again)
    now = again["problem"] == decisions.DROPPED
    used = split["split"] != "unused"
    changed = int((now != dropped).sum() + (used & ~now & (again["label"] != split["label"])).sum())
    if changed:
        say(f"{changed} of these decisions changed since the run was trained; retrain")
    kept = again[used & ~now & again["label"].isin(split.loc[used, "label"])]
    return kept.reset_index(drop=True)


def _seen(extractor, spec, photos, now=True):
    "(n,) True where the frozen backbone has features of one of `photos`, computed if needed."
    return extractor.look(photos, spec.view.pixels(photos, extractor.store, now))


def started_from(run, spec, machine, store):
    """The frozen backbone that `run` started from, including its own classifier.

    UnavailableError, not UserError, where its weights cannot be loaded: callers can do without.
    """
    source = _source(run, spec)
    try:
        return FeatureExtractor.load(source, spec.view, machine, store)
    except UserError as error:
        raise UnavailableError(str(error)) from None


def _source(run, spec):
    "The source of the weights that the run started from."
    weights = run.facts.weights
    if weights["from"] == "nothing":
        raise UnavailableError("the run did not start from trained weights")
    asked = run.config.get("weights")
    if weights["from"] == "file" and not Path(asked).is_file():
        raise UnavailableError(f"the weights it started from, {asked}, are missing")
    try:
        file = Path(asked) if weights["from"] == "file" else None
        return sources.choose(spec.arch, file, True)
    except UserError as error:
        raise UnavailableError(str(error)) from None
