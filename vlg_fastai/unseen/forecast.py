"""Scores of known, left-out and test photos in, the score to expect on the test out."""

from dataclasses import asdict, dataclass

import numpy as np

from vlg_fastai.unseen.folds import SCORES

BINS = 16  # of equal numbers of reference photos
ROUNDS = 300  # of expectation and maximisation: the share moves by less than 1e-4 after 100
RESAMPLES = 200
INTERVAL = (0.025, 0.975)
FEW = 20  # test photos below which nothing is forecast


@dataclass(frozen=True)
class Forecast:
    """Share of test photos that look like no known class, and the accuracy to expect, with 95 %
    intervals; `shares` by each score alone. The accuracy holds if the unlike photos are of other
    classes; `if_known` is what it would be if they were of known ones, photographed differently."""

    photos: int
    share: float
    share_interval: tuple[float, float]
    shares: dict[str, float]
    known_accuracy: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    if_known: float

    def in_words(self, source, before):
        "The forecast beside the accuracy `before` on known classes, which `source` says."
        low, high = self.accuracy_interval
        return (
            f"{source.split(',')[0]} {before:.2f}; this test set: {self.accuracy:.2f} expected"
            f" ({low:.2f} to {high:.2f}): {part(self.share)} of its photos are unlike every class"
            " that was trained on, or shifted"
        )

    def doubt_in_words(self):
        return (
            f"nothing in the photos tells these two apart: {self.accuracy:.2f} if the unlike ones"
            f" are of other classes, up to {self.if_known:.2f} if of known ones, photographed"
            " differently"
        )

    def facts(self):
        return asdict(self)


def part(share):
    "A share in words: what the data can tell is no finer."
    if share < 0.03:
        return "next to none"
    words = {
        0.1: "a tenth", 0.2: "a fifth", 0.25: "a quarter", 0.33: "a third", 0.4: "two fifths",
        0.5: "half", 0.6: "three fifths", 0.67: "two thirds", 0.75: "three quarters",
    }  # fmt: skip
    near = min(words, key=lambda value: abs(value - share))
    return f"about {words[near]}" if abs(near - share) <= 0.05 else f"about {share:.0%}"


@dataclass(frozen=True)
class Histograms:
    "Which of `BINS` bins each known, pseudo-unseen and test photo falls into, by one score."

    known: np.ndarray
    pseudo: list[np.ndarray]  # one array a held-out class
    test: np.ndarray  # (folds, photos): by each of the models that scored the known ones

    @classmethod
    def of(cls, evidence, score, kinds):
        i = SCORES.index(score)
        known, test = evidence.known[:, i], evidence.tests[:, :, i]
        pseudo = [scores[:, i] for scores in kinds]
        reference = np.concatenate([known, *pseudo])
        edges = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1])

        def place(values):
            return np.searchsorted(edges, values)

        return cls(place(known), [place(values) for values in pseudo], place(test))

    def unlike(self, known=slice(None), kinds=None, test=slice(None)):
        """(share of unlike photos, probability (m,) of each test photo to be one), or of resamples.

        Expectation-maximisation of the share of a mixture of two known histograms.
        """
        kinds = range(len(self.pseudo)) if kinds is None else kinds
        like = _density(self.known[known])
        odd = _density(np.concatenate([self.pseudo[kind] for kind in kinds]))
        places = self.test[:, test]
        counts = np.bincount(places.ravel(), minlength=BINS)
        share = 0.3
        for _ in range(ROUNDS):
            of_bin = share * odd / (share * odd + (1 - share) * like)
            share = float((counts * of_bin).sum() / counts.sum())
        return share, of_bin[places].mean(0)


def _density(places):
    counts = np.bincount(places, minlength=BINS) + 1.0  # no bin is impossible
    return counts / counts.sum()


def forecast(evidence, y_of_rows, accuracy, photos, seed=0):
    """(`Forecast`, probability (m,) of each test photo to be unlike) from `evidence`.

    y_of_rows: labels of the labelled photos, by row. accuracy: of the model on sound photos of
    known classes, known from `photos` of them. It is right about none of the unlike photos.

    The interval holds what resampling moves: test photos, known photos, and held-out classes as
    wholes, since those of the test are others. It does not hold what no label can tell: whether a
    photo is unlike because of its class or because of how it was taken.
    """
    kinds = _by_class(evidence, y_of_rows)
    both = {score: Histograms.of(evidence, score, kinds) for score in SCORES}
    found = {score: one.unlike() for score, one in both.items()}
    share = float(np.mean([value for value, _ in found.values()]))
    unlike = np.mean([probs for _, probs in found.values()], axis=0)
    rng = np.random.default_rng(seed)
    again = np.array([_resampled(both.values(), rng) for _ in range(RESAMPLES)])
    right = rng.binomial(photos, accuracy, RESAMPLES) / max(photos, 1)
    count = evidence.tests.shape[1]
    scored = rng.binomial(count, (1 - again) * right) / count  # chance moves the test's own score
    result = Forecast(
        count, share, _interval(again), {score: value for score, (value, _) in found.items()},
        float(accuracy), float((1 - share) * accuracy), _interval(scored),
        float((1 - share) * accuracy + (unlike * evidence.test[:, 1]).mean()),
    )  # fmt: skip
    return result, unlike


def _by_class(evidence, y):
    "Scores (n, 2) of each held-out class."
    kinds = []
    for fold in evidence.folds:
        labels = y[fold.rows[fold.new]]
        kinds += [fold.scores[fold.new][labels == label] for label in np.unique(labels)]
    return kinds


def _resampled(histograms, rng):
    "The share that a resample of photos and of held-out classes gives."
    first = next(iter(histograms))
    sizes = len(first.known), len(first.pseudo), first.test.shape[1]
    rows, kinds, test = (rng.integers(0, size, size) for size in sizes)
    return np.mean([one.unlike(rows, kinds, test)[0] for one in histograms])


def _interval(values):
    low, high = np.quantile(values, INTERVAL)
    return float(low), float(high)
