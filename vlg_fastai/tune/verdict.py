"""Decide whether the best options of a finished search beat the defaults.

The best of many looks better than it is: of 20 equal sets of options by 0.06 nats on one split. So
a few are judged again on other splits, and the best of these once, against the defaults, on photos
that no trial has seen. Two nets with the same options differ as well: by how much is estimated from
how the differences of the same pair vary from fold to fold, and it widens the interval.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from vlg_fastai.console import track
from vlg_fastai.model.intervals import grouped
from vlg_fastai.tune.judge import AGAIN, CONFIRMING, FOLD, OUTER

TOP = 3  # trials that are judged again
LAST = OUTER, 0
SURE = 0.975  # quantile of an interval's ends


@dataclass(frozen=True)
class Verdict:
    "The selected options and the evidence; `word`: better, cannot tell, worse, or none."

    word: str
    options: dict
    gain: float | None = None  # NLL of the defaults less that of the best, on the outer side
    interval: tuple | None = None  # 95 %, over photos and fits
    accuracies: tuple | None = None  # of the defaults and of the best
    photos: int = 0
    expected: float | None = None  # the gain on the splits that confirm, which selected the best
    tried: dict | None = None  # the best options, selected or not

    def in_words(self):
        if self.word == "none":
            return "no trial beat the defaults on other splits; the defaults are kept"
        low, high = self.interval
        way, gain = "lower", self.gain
        if gain < 0:
            way, gain, low, high = "higher", -gain, -high, -low
        told = (
            f"{self.word}: NLL {way} by {gain:.4f} ({low:.4f} to {high:.4f}) than with the"
            f" defaults, accuracy {self.accuracies[1]:.4f} instead of {self.accuracies[0]:.4f}, on"
            f" {self.photos} photos that no trial has seen"
        )
        return told if self.word == "better" else f"{told}; the defaults are kept"


@dataclass(frozen=True)
class Gain:
    "How much lower the loss of one net is: the mean over photos, and the variance of that mean."

    mean: float
    variance: float

    @classmethod
    def of(cls, losses, others, groups):
        "The gain of `others` over `losses` (n,) on the same photos, near-duplicates counted once."
        less = losses - others
        sums, _ = grouped((less - less.mean())[None], groups)
        return cls(float(less.mean()), float((sums.astype(float) ** 2).sum()) / len(less) ** 2)


@dataclass(frozen=True)
class Noise:
    "By how much two fits with the same options differ, beyond the noise of the photos."

    variance: float
    freedom: int  # degrees of freedom of the estimate

    @classmethod
    def of(cls, pairs):
        """From lists of `Gain`, each of one pair of options on several parts of the photos: their
        variance from part to part is that of photos, which is known, plus that of fits."""
        pairs = [gains for gains in pairs if len(gains) > 1]
        freedom = sum(len(gains) - 1 for gains in pairs)
        if not freedom:
            return cls(0.0, 1)
        means = [np.array([gain.mean for gain in gains]) for gains in pairs]
        apart = sum(float(((own - own.mean()) ** 2).sum()) for own in means) / freedom
        photos = np.mean([gain.variance for gains in pairs for gain in gains])
        return cls(max(apart - float(photos), 0.0), freedom)

    def interval(self, gain):
        "The 95 % interval of a `Gain` between two fits."
        half = student.ppf(SURE, self.freedom) * np.sqrt(gain.variance + self.variance)
        return gain.mean - float(half), gain.mean + float(half)


def last_word(search):
    "The final check of a search: the `Verdict` on its best options."
    default = search.default
    rows = confirmed(search, default)
    loss, best = min(rows, key=lambda row: row[0])
    if best == default:
        return Verdict("none", default, expected=0.0, tried=default)
    fit_missing(search, [(default, LAST), (best, LAST)], "final check, fit")
    one, other = (search.fitted(options, LAST) for options in (default, best))
    gain = Gain.of(one.losses, other.losses, search.known.judge.groups(LAST))
    low, high = noise_of(search, rows).interval(gain)
    word = "better" if low > 0 else "worse" if high < 0 else "cannot tell"
    return Verdict(
        word, best if word == "better" else default, gain.mean, (low, high),
        (one.accuracy, other.accuracy), len(one.losses), rows[0][0] - loss, best,
    )  # fmt: skip


def confirmed(search, default):
    "[(mean loss on the splits that confirm, options)] of the defaults and the best trials."
    best = [options for _, options in search.whole() if options != default][:TOP]
    pairs = [(options, part) for options in (default, *best) for part in CONFIRM]
    fit_missing(search, pairs, "judging again, fit")
    return [(float(np.mean(_again(search, options))), options) for options in (default, *best)]


def fit_missing(search, pairs, what):
    "Fit the nets of `pairs` [(options, part)] that nobody has fitted yet, and show how far it is."
    todo = [pair for pair in pairs if search.known.find(*pair) is None]
    for options, part in track(todo, what, len(todo)):
        search.fitted(options, part)


def _again(search, options):
    "(n,) losses of `options` on the held-out photos of every split that confirms."
    return np.concatenate([search.fitted(options, part).losses for part in CONFIRM])


CONFIRM = [(AGAIN, number) for number in range(CONFIRMING)]


def noise_of(search, rows):
    "The `Noise` of fits, from all options judged on every fold and those judged again."
    default, judge = search.default, search.known.judge
    folds = [(FOLD, number) for number in range(search.folds)]
    asked = [(options, folds) for _, options in search.whole()]
    asked += [(options, CONFIRM) for _, options in rows]

    def gains(options, parts):
        answers = [[search.known.find(one, part) for one in (default, options)] for part in parts]
        return [Gain.of(one.losses, other.losses, judge.groups(part))
                for (one, other), part in zip(answers, parts, strict=True)]  # fmt: skip

    return Noise.of([gains(*pair) for pair in asked if pair[0] != default])
