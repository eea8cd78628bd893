"""Forecast the score of a test from what simulated tests with similar figures scored."""

from dataclasses import asdict, dataclass

import numpy as np

from vlg_fastai.unseen.regression import WHOLE, Foretold

FEW = 20  # test photos below which nothing is forecast
FEWEST = 50  # test photos below which nothing is adapted: their shared offset is chance
GAIN = 0.01  # in accuracy on known classes that adapting must promise
APART = 0.3  # width of the share's interval above which causes cannot be told apart
VAGUE = 0.9  # width of an interval that says nothing


@dataclass(frozen=True)
class Forecast:
    """The accuracy to expect of the submission, on the test's own photos and classes, with 95 %
    intervals.

    accuracy: of the predictions submitted without names: `adapted` ones or `plain` ones.
    share: of photos of unseen classes; known_here: accuracy on the others, and plain_known without
    adapting; known_accuracy: on photos that resemble those of training.
    unlike: share that looks like no known class, whatever the reason; if_known: the accuracy if all
    of these were of known classes.
    odd: no simulated test resembles this one, so the intervals are twice as wide.
    """

    photos: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    share: float
    share_interval: tuple[float, float]
    known_accuracy: float
    known_here: Foretold
    plain_known: Foretold
    plain: Foretold
    adapted: Foretold
    gain: float
    is_adapted: bool
    unlike: float
    if_known: float
    odd: bool

    def in_words(self, source, before):
        "The forecast beside the accuracy `before` on known classes, which `source` names."
        low, high = self.accuracy_interval
        if high - low > VAGUE:
            told = f"{self.accuracy:.2f}, but too uncertain to forecast ({low:.2f} to {high:.2f})"
        else:
            told = f"{self.accuracy:.2f} expected ({low:.2f} to {high:.2f})"
        return f"{source.split(',')[0]} {before:.2f}; this test set: {told}"

    def causes_in_words(self):
        "Why it differs from the accuracy on known classes, as far as the photos show."
        low, high = self.share_interval
        if low == high:
            return (
                f"{100 * self.share:.3g}% of its photos are of classes that were not trained on, as"
                f" given; of the others, {self.known_here.value:.2f} should be predicted correctly"
                f" ({self.known_here.low:.2f} to {self.known_here.high:.2f})"
            )
        if self.told_apart:
            return (
                f"{part(self.share)} of its photos are of classes that were not trained on"
                f" ({low:.0%} to {high:.0%}); of the others, {self.known_here.value:.2f} should be"
                f" predicted correctly ({self.known_here.low:.2f} to {self.known_here.high:.2f})"
            )
        return (
            f"unseen classes ({low:.0%} to {high:.0%} of the photos) and known ones photographed"
            f" differently ({self.known_here.low:.2f} to {self.known_here.high:.2f} of them"
            " correct) cannot be told apart here (predict.py --unseen-frac SHARE, if you know it)"
        )

    @property
    def told_apart(self):
        "Whether the interval of the share of unseen classes is narrow enough to be useful."
        return self.share_interval[1] - self.share_interval[0] <= APART

    def facts(self):
        return asdict(self)


def _chance(photos, *accuracies):
    "Half the 95 % interval of the difference of `accuracies` on so many photos (rule of success)."
    likely = [(photos * accuracy + 1) / (photos + 2) for accuracy in accuracies]
    return 1.96 * np.sqrt(sum(p * (1 - p) for p in likely) / max(photos, 1))


def part(share):
    "A share in words, no finer than the data can support."
    if share < 0.03:
        return "next to none"
    words = {
        0.1: "a tenth", 0.2: "a fifth", 0.25: "a quarter", 0.33: "a third", 0.4: "two fifths",
        0.5: "half", 0.6: "three fifths", 0.67: "two thirds", 0.75: "three quarters",
    }  # fmt: skip
    near = min(words, key=lambda value: abs(value - share))
    return f"about {words[near]}" if abs(near - share) <= 0.05 else f"about {share:.0%}"


def forecast(found, mixed, evidence, accuracy, photos, adapt="auto"):
    """The `Forecast` of a model with `accuracy` on known classes, measured on `photos` of them.

    found: (targets, odd) as the `Regression` forecasts them for the probe of the frozen backbone
    behind `evidence`; mixed: the `Mixture`. Another model's figures are the probe's times the ratio
    of their accuracies on labelled photos, with intervals widened by the chance in that ratio.
    """
    targets, odd = found
    beside = evidence.right.mean()
    factor = accuracy / max(beside, 1e-9)
    chance = 0 if factor == 1 else _chance(photos, beside, accuracy)
    told = {
        name: value if name == "unseen" else value.times(factor).widened(chance)
        for name, value in targets.items()
    }
    share = told["unseen"]
    if share.low == share.high:  # given: no more than the others can be right
        told |= {name: told[known].times(1 - share.value) for name, known in WHOLE.items()}
    gain = targets["known adapted"].value - targets["known"].value
    count = evidence.tests.shape[1]
    is_adapted = adapt == "on" or (adapt == "auto" and gain >= GAIN and count >= FEWEST)
    now = told["adapted" if is_adapted else "plain"]
    return Forecast(
        count, now.value, now.interval, told["unseen"].value, told["unseen"].interval,
        float(accuracy), told["known adapted" if is_adapted else "known"], told["known"],
        told["plain"], told["adapted"], float(gain),
        bool(is_adapted), mixed.share, float(min(mixed.if_known * factor, 1)), odd,
    )  # fmt: skip
