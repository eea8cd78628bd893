"""Runs and test photos in, what to expect of the score and why it differs from validation out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlg_fastai import runs
from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.unseen import gap, shift
from vlg_fastai.unseen.forecast import FEW, forecast
from vlg_fastai.unseen.scene import Scene, UnavailableError

NAMED = 5  # most shifted photos that are named


@dataclass(frozen=True)
class Outlook:
    "A Scene and what it tells of the test photos."

    scene: Scene
    accuracy: float  # of the model on labelled photos without doubt that it did not see
    photos: int  # how many these are

    @cached_property
    def forecast(self):
        "(Forecast, probability (m,) of each test photo to be unlike), or None for too few photos."
        evidence, labelled = self.scene.evidence, self.scene.labelled
        if len(evidence.test) < FEW:
            return None
        return forecast(evidence, labelled.y, self.accuracy, self.photos, labelled.seed)

    @cached_property
    def shift(self):
        labelled = self.scene.labelled
        return shift.measure(labelled.x, labelled.groups, self.scene.test, labelled.seed)


def of(cfg, chosen, photos, means, required):
    """The Outlook of the table `photos`, by the first of the runs `chosen`; None with a word why.

    UserError instead where an option needs it (`required`).
    """
    if not (cfg.forecast or required):
        return None
    machine, store = means
    good = photos[photos["problem"].isna()].reset_index(drop=True)
    try:
        scene = Scene.of(chosen[0], cfg, good, machine, store)
        scene.evidence  # noqa: B018  it may turn out that there are too few photos
    except UnavailableError as reason:
        if required:
            raise UserError(f"--run {chosen[0].path}: unseen classes need it: {reason}") from None
        say(f"no forecast of the score: {reason}")
        return None
    return Outlook(scene, *known_accuracy(chosen, scene))


def known_accuracy(chosen, scene):
    "(mean accuracy of the runs on photos without doubt that they did not see, how many at least)."
    found = [_accuracy(run, scene) for run in chosen]
    return float(np.mean([share for share, _ in found])), min(count for _, count in found)


def _accuracy(run, scene):
    right = scene.evidence.right
    if run.facts.get("model") == "probe":
        return float(right.mean()), len(right)
    valid = runs.read_csv(run.path / runs.VALID)
    sure = set(scene.shown["file"][~scene.labelled.doubtful])
    valid = valid[valid["file"].isin(sure)]
    if valid.empty:
        return float(right.mean()), len(right)
    hits = valid.drop(columns=["file", "label"]).idxmax(axis=1) == valid["label"]
    return float(hits.mean()), len(hits)


def told(cfg, chosen, view, answer):
    "(answer with p_unseen, facts for forecast.json); says what is expected."
    evidence = view.scene.evidence
    facts = {
        "run": chosen[0].path.name,
        "held_out_classes": {score: evidence.auroc(score) for score in ("likeness", "certainty")},
    }
    if view.forecast is None:
        say(f"no forecast of the score: only {len(evidence.test)} test photos")
        return answer, facts
    expected, unlike = view.forecast
    if not cfg.forecast:
        return answer.judged(unlike), {**facts, "forecast": expected.facts()}
    validation = chosen[0].facts["accuracy"]
    say(expected.in_words(validation if validation is not None else view.accuracy))
    say(expected.doubt_in_words())
    rows = gap.rows(chosen[0].facts, view)
    show("from validation to this test", gap.COLUMNS, [row.told() for row in rows])
    say(_quality(evidence))
    say(_shifted(view))
    return answer.judged(unlike), {
        **facts, "forecast": expected.facts(), "gap": [vars(row) for row in rows],
        "shift": {"auc": view.shift.auc, "most": _most_shifted(view)},
    }  # fmt: skip


def _quality(evidence):
    found = evidence.auroc("likeness")
    return (
        f"how well unlike photos are told, on classes held out in turn: AUROC {np.mean(found):.3f}"
        f" ({min(found):.3f} to {max(found):.3f})"
    )


def _most_shifted(view):
    return view.scene.asked["file"].iloc[view.shift.most(NAMED)].tolist()


def _shifted(view):
    return (
        f"test and training photos are told apart with AUC {view.shift.auc:.2f} (.5: not at all;"
        f" unseen classes count as well), most surely {', '.join(_most_shifted(view))}"
    )
