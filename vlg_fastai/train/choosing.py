"""Choose the candidate to keep: a costlier one only if it is better by more than noise.

The criterion is the NLL, or the --metric, after a temperature, on held-out photos and on degraded
copies of them: future photos are seldom as good as those in a training folder (AutoFT, Choi et
al., 2024).
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.model import inference, scores
from vlg_fastai.model.inference import fit_temperature
from vlg_fastai.model.intervals import clearly, interval
from vlg_fastai.model.metrics import LOSSES, LOW, figure
from vlg_fastai.runs.facts import AVERAGE, PROBE, called
from vlg_fastai.train.candidates import NETS

FOLDS = 5  # parts of the held-out photos, each predicted by the model chosen on the others


@dataclass(frozen=True)
class Losses:
    """Held-out labels and near-duplicate groups (n,); NLL in nats and the loss by `metric`, which
    decides, each (candidates, copies, n)."""

    y: np.ndarray
    groups: np.ndarray
    by_copy: np.ndarray
    deciding: np.ndarray
    metric: str = "nll"

    @classmethod
    def of(cls, candidates, y, groups, metric="nll"):
        found = [cls._probs(one.answers, y) for one in candidates]
        told = [[[LOSSES[kind](probs, y) for probs in own] for own in found]
                for kind in ("nll", metric)]  # fmt: skip
        return cls(y, groups, *np.array(told), metric)

    @staticmethod
    def _probs(answers, y):
        """Fit one temperature to photos and copies: a few photos that are all right determine none.

        All candidates follow the same rule, or one with its own temperature would be at a
        disadvantage.
        """
        z, labels = np.concatenate(answers).astype(np.float64), np.tile(y, len(answers))
        probs = inference.probabilities(z, fit_temperature(z, labels))
        return probs.reshape(len(answers), len(y), -1)

    @property
    def means(self):
        "(candidates, photos): mean of the deciding loss over a photo and its degraded copy."
        return self.deciding.mean(1)


def best(candidates, y, groups, metric="nll"):
    """Return (the candidate to keep, rows of all figures, its nested figures or None).

    If nothing is held out, the last net is kept. A model worse than guessing never replaces the
    probe. UserError if no candidate gives finite predictions.
    """
    if not len(y):
        blank = [{"model": one.name, "nll": None, "accuracy": None} for one in candidates]
        return [one for one in candidates if one.cost != NETS][-1], blank, None
    judged = Losses.of(candidates, y, groups, metric)
    kept = place_of_best(candidates, judged)
    rows = rows_of(candidates, judged)
    return candidates[kept], rows, nested(candidates, judged) if len(candidates) > 1 else None


def rows_of(candidates, judged):
    "Figures of each candidate, as stored in facts.json."
    return [_row(one, judged, i) for i, one in enumerate(candidates)]


def _row(one, judged, i):
    names = "", "_degraded"
    row = {"model": one.name}
    for name, z, loss in zip(names, one.answers, judged.by_copy[i], strict=False):
        row[f"nll{name}"] = float(loss.mean())
        row[f"accuracy{name}"] = float((z.argmax(1) == judged.y).mean())
    if judged.metric not in (*LOW, "accuracy"):
        row[judged.metric] = figure(judged.metric, inference.probabilities(one.logits, 1), judged.y)
    return row


def place_of_best(candidates, judged):
    "Index of the candidate to keep among `candidates`, by their `Losses`."
    losses = np.where(np.isfinite(judged.means).all(1), judged.means.mean(1), np.inf)
    if not np.isfinite(losses).any():
        raise UserError("--lr: no model of this run gives finite predictions; try a tenth of it")
    probes = np.array([one.name == PROBE for one in candidates])
    guessing = scores.guessing(candidates[0].logits.shape[1])
    useless = judged.by_copy[:, 0].mean(1) > guessing
    if np.isfinite(losses[probes]).any():
        losses = np.where(useless & ~probes, np.inf, losses)
    costs = np.array([one.cost for one in candidates])
    kept = None
    for cost in np.unique(costs[np.isfinite(losses)]):
        rival = int(np.argmin(np.where(costs == cost, losses, np.inf)))
        if kept is None or _beats(judged, rival, kept):
            kept = rival
    return kept


def _beats(judged, rival, kept):
    "Whether `rival` is better than `kept` by more than `NOISE`; near-duplicates count once."
    return clearly(judged.means[kept] - judged.means[rival], judged.groups)


def nested(candidates, judged):
    """Figures of predictions whose model and temperature were chosen on other photos alone; None
    if the held-out photos form too few groups to split.

    For a blend this covers its share; its two inner temperatures come from all held-out photos.
    """
    parts = min(FOLDS, len(np.unique(judged.groups)))
    if parts < 2:
        return None
    y, classes = judged.y, candidates[0].logits.shape[1]
    probs = np.zeros((len(y), classes))
    for others, part in GroupKFold(parts).split(y, y, judged.groups):
        asked = [one.among(others) for one in candidates]
        one = candidates[
            place_of_best(asked, Losses.of(asked, y[others], judged.groups[others], judged.metric))
        ]
        warmth = fit_temperature(one.logits[others], y[others])
        probs[part] = inference.probabilities(one.logits[part], warmth)
    right = probs.argmax(1) == y
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": interval(right, judged.groups),
        "nll": scores.nll_of(probs, y),
    }


def best_average(rows):
    "The name of the average with the lowest loss among the `rows` of figures, or None."
    found = [row for row in rows if row["model"].startswith(AVERAGE)]
    loss = [(row["nll"] or 0) + row.get("nll_degraded", 0) for row in found]
    return found[int(np.argmin(loss))]["model"] if found else None


def say_choice(rows, kept):
    "Report how the candidates did on the held-out photos, if there was a choice."
    if len(rows) < 2 or rows[0]["nll"] is None:
        return
    worse = "nll_degraded" in rows[0]
    own = [name for name in LOSSES if name in rows[0] and name not in ("nll", "accuracy")]
    header = [*own, "NLL", "accuracy", *(["degraded: NLL", "accuracy"] if worse else [])]
    keys = [*own, "nll", "accuracy", *(["nll_degraded", "accuracy_degraded"] if worse else [])]
    cells = [(called(row["model"]), *(f"{row[key]:.4f}" for key in keys)) for row in rows]
    show(f"on the held-out photos; kept: {kept}", ["model", *header], cells)
    if worse:
        say(
            "degraded: the same photos with motion blur, haze, a colour cast or dead pixels, which"
            " training never adds"
        )
