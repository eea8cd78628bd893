"""Explain the gap between the validation score and the forecast for a run's test photos."""

from dataclasses import dataclass

import numpy as np

from vlg_fastai.model import probe

COLUMNS = ("cause", "accuracy", "source")


@dataclass(frozen=True)
class Cause:
    "A cause, its effect on the accuracy (None: no effect of its own), and how that is known."

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


def rows(view, steps):
    """From the validation accuracy to the forecast of `view` (an Outlook); `steps` are those of its
    first run: (words, accuracy), each accuracy after the change that its words name.

    The rows up to the forecast add up to it; those after it are for information.
    """
    expected = view.forecast
    doubtful = int(view.run_features.labelled.doubtful.sum())
    sources = {
        "repeated photos in it": "the same without near-duplicates of training photos",
        "wrong labels in it": f"the same without doubtful labels; {doubtful} photos have one",
        "all photos judged, not only those": "out of fold, without doubtful labels",
        "the other runs": "their mean, by the same steps",
    }
    if len(view.judged) > 1:
        steps = [*steps, ("the other runs", view.accuracy)]
    pairs = zip(steps[1:], steps, strict=False)
    return [
        Cause(steps[0][0], steps[0][1], "held-out photos", total=True),
        *(Cause(words, after - before, sources[words]) for (words, after), (_, before) in pairs),
        *_of_this_test(expected, view.accuracy),
        Cause("expected on this test", expected.accuracy,
            "95 %: {:.3f} to {:.3f}".format(*expected.accuracy_interval), total=True),
        Cause("excluded: repeated photos", _twins(view.run_features),
            "what splitting near-duplicates apart would add to the probe out of fold"),
    ]  # fmt: skip


def _of_this_test(expected, before):
    "The causes that lie in the test, as far as the photos can tell them apart."
    change, low, high = expected.plain.value - before, *expected.share_interval
    similar = "as in simulated tests that resemble this one"
    source = f"{low:.0%} to {high:.0%} of the test, {similar}"
    if low == high:
        source = f"{100 * low:.3g}% of the test, as given"
    if change >= 0:
        yield Cause("easier than training photos", change, similar)
    elif expected.told_apart:
        new = expected.share * before
        otherwise = max((1 - expected.share) * (before - expected.plain_known.value), 0)
        part = new / max(new + otherwise, 1e-9)
        if new:
            yield Cause("photos of unseen classes", change * part, source)
        yield Cause("known ones, photographed differently", change * (1 - part), similar)
    else:
        yield Cause("unseen classes, or known ones photographed differently", change, source)
    if expected.is_adapted:
        yield Cause("adapted to these photos", expected.accuracy - expected.plain.value,
                    similar)  # fmt: skip


def _twins(run_features):
    """How much higher out-of-fold accuracy is where near-duplicates may lie on both sides.

    Reuses the strength already found: a new search is not worth it here (0.4 s instead of 1.6).
    """
    labelled = run_features.labelled
    y, alone = labelled.y, np.arange(len(labelled.groups))
    if len(np.unique(labelled.groups)) == len(alone):
        return 0.0

    def make():
        shown = labelled.x, y, alone, labelled.classes, None
        loose = probe.elsewhere(labelled.x, alone, labelled.fold.strength, shown, labelled.seed)
        return {"right": _right(loose, y)}

    loose = run_features.recalled("loose", make)["right"]
    return float(np.mean(loose) - np.mean(_right(labelled.fold.logits, y)))


def _right(logits, y):
    return logits.argmax(1) == y
