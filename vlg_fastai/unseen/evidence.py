"""Hold the scores of known, held-out and test photos by folds."""

from dataclasses import dataclass, fields

import numpy as np
from sklearn.metrics import roc_auc_score

SCORES = ("likeness", "certainty")  # relative Mahalanobis; calibrated maximum probability


@dataclass(frozen=True)
class ClassFold:
    """Scores by a model of the classes `known` on photos it never saw, some of classes `held`.

    train: rows it was fitted on; rows (n,): those it was evaluated on; logits (n, known); scores
    (n, 2), likeness first; new (n,): True where the photo's class was held out.
    """

    known: np.ndarray
    held: np.ndarray
    train: np.ndarray
    rows: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Scores (n, 2) of known photos out of fold, of pseudo-unseen ones fold by fold, and of test
    photos (folds, m, 2) by each of the models that scored the known ones.

    right (n,): whether the probe was right about the known photo; temperature: of its logits.
    """

    known: np.ndarray
    right: np.ndarray
    folds: list[ClassFold]
    tests: np.ndarray
    temperature: float

    @property
    def test(self):
        "(m, 2) means over the folds."
        return self.tests.mean(0)

    @property
    def pseudo(self):
        "Scores (m, 2) of the photos of held-out classes."
        return np.concatenate([fold.scores[fold.new] for fold in self.folds])

    @property
    def arrays(self):
        "{name: array} of all of it, which `of_arrays` takes."
        folds = {
            f"{name} {i}": value
            for i, fold in enumerate(self.folds)
            for name, value in vars(fold).items()
        }
        return {name: value for name, value in vars(self).items() if name != "folds"} | folds

    @classmethod
    def of_arrays(cls, found):
        names = [field.name for field in fields(ClassFold)]
        count = sum(name.startswith(f"{names[0]} ") for name in found)
        folds = [ClassFold(*(found[f"{name} {i}"] for name in names)) for i in range(count)]
        own = {field.name: found.get(field.name) for field in fields(cls)}
        return cls(**own | {"folds": folds, "temperature": float(found["temperature"])})

    def auroc(self, score):
        "How well the score named `score` separates held-out classes from known ones, fold by fold."
        i = SCORES.index(score)
        return [roc_auc_score(~fold.new, fold.scores[:, i]) for fold in self.folds]

    def threshold(self, share=0.05):
        "The likeness below which only `share` of the known photos lie."
        return float(np.quantile(self.known[:, 0], share))

    def missed(self):
        "Share of pseudo-unseen photos above the threshold."
        return float((self.pseudo[:, 0] >= self.threshold()).mean())
