"""Score known, held-out and test photos by folds, from labelled and test features.

Folds over photos show how new photos of known classes score; folds over classes show how photos of
classes score that a model never saw. Both are the yardstick for the test photos.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlg_fastai.console import track
from vlg_fastai.data.neighbours import unit
from vlg_fastai.machine.device import cpus
from vlg_fastai.model import probe
from vlg_fastai.model.doubts import pruned
from vlg_fastai.model.inference import fit_temperature, probabilities
from vlg_fastai.unseen.evidence import ClassFold, Evidence
from vlg_fastai.unseen.likeness import Likeness

CLASS_FOLDS = 5
FEWEST_PHOTOS, FEWEST_CLASSES = 40, 3  # below them folds are not informative
MOST = 10_000  # photos to cut folds from: memory and time stay flat beyond


class UnavailableError(Exception):
    "Why something cannot be computed or is not available here."


@dataclass(frozen=True)
class Labelled:
    "Features x (n, d), labels y (n,), near-duplicate groups (n,), the probe's out-of-fold logits."

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    fold: probe.OutOfFold
    seed: int = 0

    @property
    def classes(self):
        return self.fold.logits.shape[1]

    @cached_property
    def probs(self):
        "Calibrated out-of-fold probabilities (n, classes)."
        return probabilities(self.fold.logits, fit_temperature(self.fold.logits, self.y))

    @cached_property
    def doubtful(self):
        "(n,) True where the label is doubted by class and by noise rate (confident learning)."
        return self.pruned("both")

    def pruned(self, filter_by):
        "(n,) True where confident learning prunes the label, by one of cleanlab's filters."
        return pruned(self.y, self.probs, filter_by)

    @cached_property
    def sound(self):
        """Rows without a doubtful label; above `MOST`, a random sample with class shares kept.

        The probe behind the doubts knew all classes, so held-out photos are slightly cleaner than
        those of a test.
        """
        rows = np.flatnonzero(~self.doubtful)
        return rows[probe.drawn(self.y[rows], self.seed, MOST)]

    @cached_property
    def factor(self):
        return probe.scale(self.x)

    @property
    def enough(self):
        "Whether there are enough photos and classes for folds."
        kinds = len(np.unique(self.y[self.sound]))
        return len(self.sound) >= FEWEST_PHOTOS and kinds >= FEWEST_CLASSES


def gather(labelled, test):
    "The `Evidence` of `labelled` photos and `test` features (m, d); UnavailableError for too few."
    check(labelled)
    photo_folds = probe.folds(labelled.y[labelled.sound], _groups(labelled), labelled.seed)
    class_folds = _held_out_classes(labelled)
    jobs = [*((True, cut) for cut in photo_folds), *((False, held) for held in class_folds)]

    def work(job):
        over_photos, cut = job
        if over_photos:
            return _photo_fold(labelled, *(labelled.sound[rows] for rows in cut), test)
        return _class_fold(labelled, cut)

    with probe.solver(), ThreadPoolExecutor(cpus()) as pool:
        made = list(track(pool.map(work, jobs), "scoring photos, fold", len(jobs)))
    return _judged(labelled, made[: len(photo_folds)], made[len(photo_folds) :])


def check(labelled):
    "UnavailableError for photos that are too few for folds."
    if not labelled.enough:
        raise UnavailableError("too few photos or classes")
    if not probe.folds(labelled.y[labelled.sound], _groups(labelled), labelled.seed):
        raise UnavailableError("no class has two photos that are not copies of each other")


def likeness(labelled):
    """(n,) likeness of each labelled photo to the known classes, by models that never saw it.

    0 is the mean of photos without a doubtful label, 1 their spread. UnavailableError for too few.
    """
    cuts = labelled.enough and probe.folds(labelled.y, labelled.groups, labelled.seed)
    if not cuts:
        raise UnavailableError("too few photos or classes")
    x, found = unit(labelled.x), np.zeros(len(labelled.y))
    for train, held in cuts:
        learned = np.intersect1d(train, labelled.sound)
        scores = Likeness.fit(x[learned], labelled.y[learned])(x[held])
        found[held] = _standard(scores, scores[np.isin(held, labelled.sound)])
    return found


def _groups(labelled):
    return labelled.groups[labelled.sound]


def _held_out_classes(labelled):
    kinds = np.unique(labelled.y[labelled.sound])
    order = np.random.default_rng(labelled.seed).permutation(kinds)
    return [np.sort(part) for part in np.array_split(order, min(CLASS_FOLDS, len(kinds)))]


def _photo_fold(labelled, train, held, test):
    "(held rows, their logits, their likeness, logits and likeness of the test features)."
    tell, like = _models(labelled, train)
    asked = labelled.x[held]
    own, other = like(unit(asked)), like(unit(test))
    own, other = (_standard(score, own) for score in (own, other))
    return held, tell(asked), own, tell(test), other


def _class_fold(labelled, held):
    sound, y = labelled.sound, labelled.y
    new = np.isin(y[sound], held)
    rest, left_out = sound[~new], sound[new]
    cuts = probe.folds(y[rest], labelled.groups[rest], 0)
    if not cuts:
        raise UnavailableError("with some classes held out, the others have only copies")
    train, known = (rest[rows] for rows in cuts[0])
    tell, like = _models(labelled, train)
    rows = np.concatenate([known, left_out])
    scores = like(unit(labelled.x[rows]))
    scores = _standard(scores, scores[: len(known)])
    kinds = np.unique(y[train])
    logits = tell(labelled.x[rows])[:, kinds]
    new = np.arange(len(rows)) >= len(known)
    return ClassFold(kinds, held, train, rows, logits, scores[:, None], new)


def _models(labelled, train):
    x, y = labelled.x[train], labelled.y[train]
    if len(np.unique(y)) < 2:
        raise UnavailableError("only photos of one class are left to learn from")
    tell = probe.teller(x, y, labelled.fold.strength, labelled.classes, labelled.factor)
    return tell, Likeness.fit(unit(x), y)


def _standard(scores, known):
    "Scores on the fold's own scale: that of photos of known classes which it never saw."
    return (scores - known.mean()) / max(known.std(), 1e-9)


def _judged(labelled, photo_folds, class_folds):
    rows = np.concatenate([fold[0] for fold in photo_folds])
    logits = np.concatenate([fold[1] for fold in photo_folds])
    y = labelled.y[rows]
    temperature = fit_temperature(logits, y)

    def certainty(z):
        return probabilities(z, temperature).max(-1)

    known = np.column_stack([np.concatenate([fold[2] for fold in photo_folds]), certainty(logits)])
    tests = np.stack([np.column_stack([fold[4], certainty(fold[3])]) for fold in photo_folds])
    folds = [
        ClassFold(
            **{**vars(fold), "scores": np.column_stack([fold.scores, certainty(fold.logits)])}
        )
        for fold in class_folds
    ]
    return Evidence(known, logits.argmax(1) == y, folds, tests, temperature)
