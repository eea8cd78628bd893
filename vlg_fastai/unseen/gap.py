"""What is known of a run and its test photos in, where a gap between the scores comes from out."""

from dataclasses import dataclass

import numpy as np

from vlg_fastai.model import probe

COLUMNS = ("cause", "accuracy", "how it is known")


@dataclass(frozen=True)
class Row:
    "A cause, how much it moves the accuracy (None: not a move of its own), and how it is known."

    cause: str
    effect: float | None
    source: str
    total: bool = False

    def told(self):
        if self.effect is None:
            return self.cause, "-", self.source
        return (
            self.cause,
            f"{self.effect:.3f}" if self.total else f"{self.effect:+.3f}",
            self.source,
        )


def rows(facts, view):
    """From the validation accuracy in the `facts` of a run to the forecast of `view` (an Outlook).

    The first rows add up to the last; what follows it is told beside, not added.
    """
    expected, unlike = view.forecast
    printed = facts["accuracy"] if facts["accuracy"] is not None else view.accuracy
    doubtful = int(view.scene.labelled.doubtful.sum())
    return [
        Row("validation, as printed", printed, "held-out photos", total=True),
        Row("wrong labels in it", view.accuracy - printed,
            f"the same without doubtful labels; {doubtful} photos have one"),
        Row("photos unlike every class, or shifted", expected.accuracy - view.accuracy,
            f"{expected.share:.0%} of the test, all counted as wrong"),
        Row("expected on this test", expected.accuracy,
            "95 %: {:.3f} to {:.3f}".format(*expected.accuracy_interval), total=True),
        Row("not in it: repeated photos", _twins(view.scene),
            "what a split through near-duplicates would add to validation"),
        Row("not in it: shift of known classes", _doubt(view, unlike),
            "how much less sure of test photos that look known; part of the row on unlike photos"),
    ]  # fmt: skip


def _twins(scene):
    "How much higher out-of-fold accuracy is where near-duplicates may lie on both sides."
    labelled = scene.labelled
    if len(np.unique(labelled.groups)) == len(labelled.groups):
        return 0.0
    alone = np.arange(len(labelled.groups))
    store, classes = scene.frozen.store, labelled.classes
    loose = probe.out_of_fold(labelled.x, labelled.y, alone, classes, store, labelled.seed)
    return float(np.mean(_right(loose, labelled.y)) - np.mean(_right(labelled.fold, labelled.y)))


def _right(fold, y):
    return fold.logits.argmax(1) == y


def _doubt(view, unlike):
    "Difference of confidences (Guillory et al., 2021) over test photos weighted by looking known."
    evidence, weight = view.scene.evidence, 1 - unlike
    if weight.sum() <= 0:
        return None
    sure = float((evidence.test[:, 1] * weight).sum() / weight.sum())
    return sure - float(evidence.known[:, 1].mean())
