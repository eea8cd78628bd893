"""Run folders in, whether each was right about the photos it held out out: grouped by split."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.runs import SPLIT, VALID, Run, read_csv

SAME = 0.7  # share of their held-out photos that runs of one comparison have in common at least


@dataclass(frozen=True)
class Judged:
    """What `run` made of its held-out photos: a table of file, label, right (0 or 1), nll (nats).

    `split` tells runs of one and the same split."""

    run: Run
    split: str
    photos: pd.DataFrame


@dataclass(frozen=True)
class Together:
    """Runs that held out the same photos: right and nll (runs, n) on those that all of them did;
    groups (n,) of near-duplicates."""

    runs: list[Run]
    right: np.ndarray
    nll: np.ndarray
    groups: np.ndarray


def judge_all(chosen):
    "[Judged] of the runs `chosen`; one that cannot be read, or held nothing out, costs a line."
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_judge, chosen))
    for reason in (one for one in found if isinstance(one, str)):
        say(f"left out: {reason}")
    return [one for one in found if isinstance(one, Judged)]


def _judge(run):
    try:
        table = read_csv(run.path / VALID)
        split = (run.path / SPLIT).read_bytes()
        run.config, run.facts  # noqa: B018  a damaged one is said here as well
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{run.path}: cannot read {SPLIT} ({error.strerror})"
    if table.empty:
        return f"{run.path}: it held out no photos"
    probs, classes = table.iloc[:, 2:].to_numpy(np.float32), list(table.columns[2:])
    y = pd.Categorical(table.iloc[:, 1], classes).codes
    own = np.maximum(probs[np.arange(len(y)), y], 1e-12)
    photos = pd.DataFrame(
        {"file": table.iloc[:, 0], "label": table.iloc[:, 1], "right": probs.argmax(1) == y,
         "nll": -np.log(own)}
    )  # fmt: skip
    return Judged(run, hashlib.sha1(split).hexdigest(), photos)


def together(judged):
    """[Together], largest first: runs that drew the same photos, but for a few.

    A photo is its content and its label, so that renamed or moved data are still the same.
    Backbones and decisions move a few to the other side; no run is scored on what it was taught.
    """
    keyed = [(one, table) for one, table in zip(judged, _keyed(judged), strict=True)]
    sets = []
    for one, table in keyed:
        mine = set(table.index)
        for place in sets:
            shared = place["shared"] & mine
            if len(shared) >= SAME * max(len(mine), len(place["first"])):
                place["shared"] = shared
                place["runs"].append((one, table))
                break
        else:
            sets.append({"first": mine, "shared": mine, "runs": [(one, table)]})
    return sorted((_aligned(place) for place in sets), key=lambda one: -len(one.runs))


def _keyed(judged):
    "For each run its photos under (content, label, how many such came before)."
    splits = {}
    for one in judged:
        if one.split not in splits:
            splits[one.split] = _index(one)
    return [one.photos.set_axis(splits[one.split][0]).assign(group=splits[one.split][1])
            for one in judged]  # fmt: skip


def _index(one):
    split = read_csv(one.run.path / SPLIT).set_index("file")
    known = split.loc[one.photos["file"], ["content", "group"]].reset_index(drop=True)
    key = pd.DataFrame({"content": known["content"], "label": one.photos["label"]})
    before = key.groupby(["content", "label"]).cumcount()
    return list(zip(key["content"], key["label"], before, strict=True)), known["group"].to_numpy()


def _aligned(place):
    kept = [key for key in place["runs"][0][1].index if key in place["shared"]]
    same = [table if list(table.index) == kept else table.loc[kept] for _, table in place["runs"]]
    return Together(
        [one.run for one, _ in place["runs"]],
        np.stack([table["right"].to_numpy(float) for table in same]),
        np.stack([table["nll"].to_numpy(float) for table in same]),
        same[0]["group"].to_numpy(),
    )
