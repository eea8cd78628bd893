"""Simulate tests from labelled photos, and fit the forecast's table to them: unseen/foretold.json.

    python benchmarks/foretelling.py features SHARED KINDS WORK [CHALLENGE ...]  of every picture
    python benchmarks/foretelling.py tests WORK [CHALLENGE ...]   simulated tests: figures and truth
    python benchmarks/foretelling.py fit WORK                     left-out figures, and the table

SHARED holds animals/train, objects/train, paintings/train; KINDS holds the output of kinds.py; the
generated challenge is generated. Truth of a real test is never read.
"""

import sys
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from foretelling_cuts import cut  # noqa: E402
from foretelling_features import write_features  # noqa: E402
from foretelling_lists import CHALLENGES, WRONG, families  # noqa: E402
from foretelling_names import named  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from vlg_fastai.data.store import Store  # noqa: E402
from vlg_fastai.model import probe  # noqa: E402
from vlg_fastai.unseen import figures, folds, mixture  # noqa: E402
from vlg_fastai.unseen.adapt import Model  # noqa: E402

ROUNDS = 3  # simulated tests of each family and challenge, each with its own seed


@cache
def kept(work, name):
    with np.load(work / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@cache
def classifier(work):
    with np.load(work / "classifier.npz") as file:
        return file["weight"], file["bias"]


def write_tests(work, names):
    for name in names or CHALLENGES:
        rows = [
            {"challenge": name.split(",")[0], "family": family, **row}
            for turn in range(ROUNDS)
            for family in families(name)
            for row in made_up(work, name, family, turn)
        ]
        pd.DataFrame(rows).to_csv(work / f"tests-{name}.csv", index=False)


def made_up(work, name, family, turn):
    "Yield the figures and truth of one simulated test, unless it has too few photos."
    rng = np.random.default_rng([zlib.crc32(f"{name}{family}".encode()), turn])
    shown, asked = cut(kept(work, name), CHALLENGES[name][1][0], family, rng)
    table = work / "drawn/attributes.csv" if name.startswith("drawn") else None
    if len(shown[0]) >= 45 and len(asked[0]) >= 60:
        try:
            made = Simulated.of(shown, asked, classifier(work))
            yield made.judged(WRONG.get(name, 0.0), (table, Store(work / "cache")))
        except folds.UnavailableError:
            return


@dataclass(frozen=True)
class Simulated:
    """Labelled photos, features (m, d) of a test, the backbone's own logits of both, the labels of
    the test (m,) and the names of the known classes."""

    labelled: folds.Labelled
    test: np.ndarray
    own: tuple
    labels: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, shown, asked, classifier):
        (x, labels, groups), (weight, bias) = shown, classifier
        kinds, y = np.unique(labels, return_inverse=True)
        groups = np.unique(groups, return_inverse=True)[1]
        fold = probe.out_of_fold(x, y, groups, len(kinds), Store(), 0)
        own = [(side.astype(np.float32) @ weight.T + bias) for side in (x, asked[0])]
        return cls(folds.Labelled(x, y, groups, fold), asked[0], own, asked[1], kinds)

    def judged(self, wrong, means):
        """Figures and true scores, corrected for the share of `wrong` labels; with names as well
        where classes are unseen, by the expert that `means` allow."""
        labelled, test = self.labelled, self.test
        evidence = folds.gather(labelled, test)
        mixed = mixture.mixture(evidence, evidence.right.mean())
        found = figures.of(labelled, evidence, mixed, test, self.own)
        model = Model.whole(labelled)
        x = test.astype(np.float32)
        answers = model.plain(x), model.adapted(model.moved(x))
        right = [self.kinds[model.kinds[one.argmax(1)]] == self.labels for one in answers]
        known, kept = np.isin(self.labels, self.kinds), 1 - wrong
        found |= {
            "photos asked": len(self.labels),
            "true plain": min(1, right[0].mean() / kept),
            "true adapted": min(1, right[1].mean() / kept),
            "true known": min(1, right[0][known].mean() / kept),
            "true known adapted": min(1, right[1][known].mean() / kept),
            "true unseen": 1 - known.mean(),
        }
        if known.all() or max(map(len, self.kinds)) == 1:  # letters: no expert has words for them
            return found
        photos = x, np.exp(answers[0]), self.own
        truth = self.kinds, self.labels
        said, right = named(labelled, evidence, photos, truth, mixed.share, means)
        return found | said | {"true named": min(1, right / kept)}


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    places = [Path(part) for part in rest]
    if command == "features":
        write_features(*places[:3], rest[3:])
    elif command == "tests":
        with threadpool_limits(1):
            write_tests(places[0], rest[1:])
    else:
        from foretelling_fit import fit

        fit(places[0])
