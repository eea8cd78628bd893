"""Fit nets with given options, and return the loss of each photo that a net did not train on."""

import hashlib
import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from vlg_fastai.console import muted
from vlg_fastai.model import bundle, sources
from vlg_fastai.model.inference import fit_temperature
from vlg_fastai.runs.run import Run
from vlg_fastai.train import candidates
from vlg_fastai.train.finetune import fine_tune
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.prepare import Prepared, in_use

OUTER = "outer"  # the part of the photos that no trial ever sees
FOLD, AGAIN = "fold", "again"  # parts that judge every trial, and parts that confirm a few
CONFIRMING = 2  # splits of the training side that confirm the best trials
PARTS = 5  # of the judged photos: the temperature of each part comes from the others
WORST = 20.0  # nats: the loss of a photo whose prediction is not finite, and the cap of all losses


@dataclass(frozen=True)
class Scored:
    "Scores of a net on photos that it did not see: losses (n,) in nats, accuracy, seconds."

    losses: np.ndarray
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Judge:
    """Fits nets with different options on parts of the photos. A part is a pair: (`FOLD`, number),
    (`AGAIN`, number) of another partition of the training side, or (`OUTER`, 0)."""

    prepared: Prepared  # of the defaults; its held-out side is the outer one
    source: sources.Source
    folds: int

    @cached_property
    def _partitions(self):
        return {}

    def held(self, part):
        "(photos,) True where a photo of the table is held out from the nets of `part`."
        kind, number = part
        if kind == OUTER:
            return self.prepared.held
        if kind not in self._partitions:
            seeds = {FOLD: [0], AGAIN: range(1, 1 + CONFIRMING)}[kind]
            self._partitions[kind] = [self._parted(seed) for seed in seeds]
        if kind == AGAIN:
            return self._partitions[kind][number] == 0
        return self._partitions[kind][0] == number

    def _parted(self, more):
        "(photos,) fold number of each training photo; -1 for photos that are always trained on."
        table, taught = self.prepared.table, ~self.prepared.held
        y, groups = self.prepared.labels[taught], self.prepared.groups[taught]
        numbers = np.full(taught.sum(), -1)
        seed = (self.prepared.cfg.seed + more) % 2**32
        ways = StratifiedGroupKFold(self.folds, shuffle=True, random_state=seed)
        for number, (_, rows) in enumerate(ways.split(y, y, groups)):
            numbers[rows] = number
        for label in np.unique(y):  # a class within one fold would be unknown to that fold's net
            own = numbers[y == label]
            if len(set(own)) == 1:
                numbers[y == label] = -1
        found = np.full(len(table), -1)
        found[taught] = numbers
        return found

    def groups(self, part):
        "(n,) near-duplicate groups of the photos that `part` judges."
        return self.prepared.groups[self.held(part)]

    def answer(self, options, part):
        """The `Scored` of the net that train.py fits with `options` over the defaults.

        It is scored alone, on the held-out photos of `part` and degraded copies of them. Raises
        KeyboardInterrupt if the fit was stopped."""
        start = time.monotonic()
        with muted():
            one = self._fitted(self._of(options, part))
        if one is None:
            return Scored(np.full(self.held(part).sum(), WORST), 0.0, time.monotonic() - start)
        y, groups = one.pop("y"), one.pop("groups")
        losses = crossed(one["answers"], y, groups)
        right = one["answers"][0].argmax(1) == y
        return Scored(losses, float(right.mean()), time.monotonic() - start)

    def _of(self, options, part):
        "The `Prepared` of a fit: the photos that judge are held out, the outer side is unused."
        table, held = self.prepared.table, self.held(part)
        sides = np.where(held, "valid", "train")
        if part[0] != OUTER:
            sides[self.prepared.held] = "unused"
        cfg = replace(self.prepared.cfg, **options)
        every = table.assign(split=sides)
        used, spec = in_use(cfg, self.source, self.prepared.spec.view, every, self.prepared.extra)
        return replace(self.prepared, cfg=cfg, every=every, table=used, spec=spec)

    def _fitted(self, prepared):
        learn = learner_for(prepared, self.source)
        candidates.warm_start(prepared, learn)
        with tempfile.TemporaryDirectory(prefix="vlg-tune-") as folder:
            fit = fine_tune(prepared, learn, Run(Path(folder)))
        if fit.status == "interrupted":
            raise KeyboardInterrupt
        if not fit.epochs or not bundle.finite(learn.model):
            return None
        answers = candidates.net(candidates.FINE_TUNED, learn.model, prepared).answers
        y, groups = prepared.labels[prepared.held], prepared.groups[prepared.held]
        return {"answers": answers, "y": y, "groups": groups}


def crossed(answers, y, groups):
    """(n,) mean NLL of each photo over `answers` [(n, classes)], clean and degraded, at a
    temperature fitted on other photos."""
    losses = np.zeros((len(answers), len(y)))
    parts = min(PARTS, len(np.unique(groups)))
    ways = GroupKFold(parts).split(y, y, groups) if parts > 1 else [(slice(None), slice(None))]
    for others, part in ways:
        z = np.concatenate([one[others] for one in answers]).astype(np.float64)
        warmth = fit_temperature(z, np.tile(y[others], len(answers)))
        for i, one in enumerate(answers):
            logs = log_softmax(one[part].astype(np.float64) / warmth, axis=1)
            losses[i, part] = -logs[np.arange(len(logs)), y[part]]
    return np.nan_to_num(np.minimum(losses.mean(0), WORST), nan=WORST)


def fingerprint(prepared, cfg):
    "What a study is about, {name: value}: all processes that share a study must agree on it."
    told = prepared.table[["content", "label", "split"]].astype(str)
    rows = sorted(told.itertuples(index=False, name=None))
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    return {"photos": digest, "folds": cfg.folds, "seed": cfg.seed}


def hash_of(path):
    "A short hash of the file at `path`; None if there is no path."
    return path and hashlib.sha256(path.read_bytes()).hexdigest()[:16]
