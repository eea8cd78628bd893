"""Score each run on the photos it held out, and group runs that held out the same photos."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.model.metrics import LOSSES
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.predictions import answers, keys_of
from vlg_fastai.runs.run import SPLIT, Run

SAME = 0.7  # least share of their held-out photos that runs of one comparison have in common


@dataclass(frozen=True)
class ScoredRun:
    """Scores of `run` on its held-out photos: files, labels, right (0 or 1), nll (nats) and the
    loss by the deciding figure, all (n,).

    `split` is a number that runs with identical splits share."""

    run: Run
    split: int
    files: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    nll: np.ndarray
    deciding: np.ndarray


@dataclass(frozen=True)
class Together:
    """Runs that held out the same photos: right, nll and the deciding loss (runs, n) on the photos
    common to all of them; groups (n,) of near-duplicates."""

    runs: list[Run]
    right: np.ndarray
    nll: np.ndarray
    deciding: np.ndarray
    groups: np.ndarray


def judge_all(chosen, by="accuracy"):
    """[ScoredRun] of the runs `chosen`, by one of `LOSSES`; runs that are unreadable or held no
    photo out are reported in one line each and skipped."""
    splits = []  # distinct contents of split.csv; nearly always one or a few
    found = [_judge(run, splits, by) for run in chosen]  # threads would only wait for each other
    for reason in (one for one in found if isinstance(one, str)):
        say(f"left out: {reason}")
    return [one for one in found if isinstance(one, ScoredRun)]


def _judge(run, splits, by):
    try:
        table = read_csv(run.answers, np.float32)
        split = (run.path / SPLIT).read_bytes()
        run.config  # noqa: B018  reports a damaged config.json here as well
        y, probs = answers(run, table, np.float32)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{run.path}: cannot read {SPLIT} ({error.strerror})"
    if table.empty:
        return f"{run.path}: held out no photos"
    right, told = 1 - LOSSES["accuracy"](probs, y), table.iloc[:, :2].to_numpy().T
    losses = (LOSSES[name](probs, y).astype(float) for name in ("nll", by))
    return ScoredRun(run, _number_of(split, splits), *told, right, *losses)


def _number_of(content, known):
    "The index of `content` in `known`; appended if it is new."
    if content not in known:
        known.append(content)
    return known.index(content)


def together(judged):
    """[Together], largest first: runs that held out the same photos, except for a few.

    A photo is identified by content and label, so renamed or moved data still match. Backbones and
    decisions move a few photos to the other side; no run is scored on photos it was trained on.
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
    """`sets`, with each lone run of folds moved to the largest set whose held-out photos it covers.

    It predicted each photo with a net that never saw it, so there it compares like any other run.
    """
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
    "The Together of a set, in its first split's photo order; runs of one split share their order."
    kept = [key for key in place["first"] if key in place["shared"]]
    runs, scores = [], []
    for members, keys in place["members"]:
        at = pd.Index(list(keys), tupleize_cols=False).get_indexer(kept)
        for one in members:
            runs.append(one.run)
            scores.append((one.right[at], one.nll[at], one.deciding[at]))
    groups = np.array([place["first"][key] for key in kept])
    return Together(runs, *np.stack(scores, 1), groups)
