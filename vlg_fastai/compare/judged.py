"""Run folders in, whether each was right about the photos it held out out: grouped by split."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.model.metrics import LOSSES
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.predictions import answers, keys_of
from vlg_fastai.runs.run import SPLIT, Run

SAME = 0.7  # share of their held-out photos that runs of one comparison have in common at least


@dataclass(frozen=True)
class ScoredRun:
    """What `run` made of its held-out photos: files, labels, right (0 or 1), nll (nats), and the
    loss by the figure that decides, all (n,).

    `split` tells runs of one and the same split."""

    run: Run
    split: int
    files: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    nll: np.ndarray
    deciding: np.ndarray


@dataclass(frozen=True)
class Together:
    """Runs that held out the same photos: right, nll and the deciding loss (runs, n) on those that
    all of them did; groups (n,) of near-duplicates."""

    runs: list[Run]
    right: np.ndarray
    nll: np.ndarray
    deciding: np.ndarray
    groups: np.ndarray


def judge_all(chosen, by="accuracy"):
    """[ScoredRun] of the runs `chosen`, by one of `LOSSES`; one that cannot be read, or held no
    photo out, costs a line."""
    splits = []  # contents of split.csv; nearly always one or a few
    found = [_judge(run, splits, by) for run in chosen]  # in threads they wait for each other
    for reason in (one for one in found if isinstance(one, str)):
        say(f"left out: {reason}")
    return [one for one in found if isinstance(one, ScoredRun)]


def _judge(run, splits, by):
    try:
        table = read_csv(run.answers, np.float32)
        split = (run.path / SPLIT).read_bytes()
        run.config  # noqa: B018  a damaged one is said here as well
        y, probs = answers(run, table, np.float32)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{run.path}: cannot read {SPLIT} ({error.strerror})"
    if table.empty:
        return f"{run.path}: it held out no photos"
    right, told = 1 - LOSSES["accuracy"](probs, y), table.iloc[:, :2].to_numpy().T
    losses = (LOSSES[name](probs, y).astype(float) for name in ("nll", by))
    return ScoredRun(run, _number_of(split, splits), *told, right, *losses)


def _number_of(content, known):
    "The place of `content` among those `known`, which it joins if it is new."
    if content not in known:
        known.append(content)
    return known.index(content)


def together(judged):
    """[Together], largest first: runs that drew the same photos, but for a few.

    A photo is its content and its label, so that renamed or moved data are still the same.
    Backbones and decisions move a few to the other side; no run is scored on what it was taught.
    """
    splits = {}
    for one in judged:
        splits.setdefault((one.split, *one.files), []).append(one)
    sets = []
    for members in splits.values():
        try:
            keys = photos_of(members[0])
        except UserError as error:
            say(f"left out: {error}")
            continue
        for place in sets:
            shared = place["shared"] & set(keys)
            if len(shared) >= SAME * max(len(keys), len(place["first"])):
                place["shared"] = shared
                place["members"].append((members, keys))
                break
        else:
            sets.append({"first": keys, "shared": set(keys), "members": [(members, keys)]})
    sets = _with_folds(sets)
    return sorted((_aligned(place) for place in sets), key=lambda one: -len(one.runs))


def _with_folds(sets):
    """`sets`, a run of folds that is alone beside the most runs whose held-out photos it answers:
    each by a net that never saw it, so on them it is like any other run."""
    runs = [[one for members, _ in place["members"] for one in members] for place in sets]
    alone = [len(found) == 1 and bool(found[0].run.facts.folds) for found in runs]
    order = sorted(range(len(sets)), key=lambda i: -len(runs[i]))
    kept = [sets[i] for i in order if not alone[i]]
    for place in (sets[i] for i in order if alone[i]):
        home = next((one for one in kept if _covers(place, one)), None)
        if home is None:
            kept.append(place)
        else:
            home["shared"] &= place["shared"]
            home["members"] += place["members"]
    return kept


def _covers(place, other):
    return len(place["shared"] & other["shared"]) >= SAME * len(other["first"])


def photos_of(one):
    "{key of a photo: near-duplicate group} of its held-out photos."
    return keys_of(one.run, pd.DataFrame({"file": one.files, "label": one.labels}))


def _aligned(place):
    "Scores in the order of the first split's photos; all runs of one split have the same order."
    kept = [key for key in place["first"] if key in place["shared"]]
    runs, scores = [], []
    for members, keys in place["members"]:
        at = pd.Index(list(keys), tupleize_cols=False).get_indexer(kept)
        for one in members:
            runs.append(one.run)
            scores.append((one.right[at], one.nll[at], one.deciding[at]))
    groups = np.array([place["first"][key] for key in kept])
    return Together(runs, *np.stack(scores, 1), groups)
