"""What the labelled photos say about one of them: doubt, twins, likeness, nearest photos."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlg_fastai.data.neighbours import unit
from vlg_fastai.unseen.features import RunFeatures
from vlg_fastai.unseen.folds import likeness

UNLIKE = 0.05  # share of sound photos below the likeness at which a photo counts as unlike
TWINS, NEAREST = 2, 2  # photos shown beside one
READINGS = {  # likely causes of a loss, as a tag and in a sentence; the first that holds is used
    "twin": ("twin:", "a near-duplicate has another label"),
    "label": ("wrong label?", "models that never saw it predict another class"),
    "unlike": ("no known class?", "it is among the 5 % least like the known classes"),
    "hard": ("truly hard:", "photo and label both look sound"),
}


@dataclass(frozen=True)
class Around:
    "The surroundings of labelled photos; rows are those of the table `shown` of their features."

    run_features: RunFeatures

    @cached_property
    def row(self):
        "File -> row."
        return {file: i for i, file in enumerate(self.run_features.shown["file"])}

    @cached_property
    def x(self):
        return unit(self.run_features.labelled.x)

    @cached_property
    def rank(self):
        "(n,) share of the photos without doubtful labels that are less like the known classes."
        labelled = self.run_features.labelled
        found = likeness(labelled)
        return np.searchsorted(np.sort(found[labelled.sound]), found) / len(labelled.sound)

    def doubt(self, row):
        """(class that held-out probes predict instead, its probability), or None without doubt.

        Doubtful are labels that confident learning prunes or whose probability is below chance: on
        the generated challenge 0.94 of these are wrong and 0.97 of the wrong ones are found; by
        pruning alone 0.96 and 0.78.
        """
        labelled = self.run_features.labelled
        probs = labelled.probs[row]
        if not labelled.doubtful[row] and probs[labelled.y[row]] * len(probs) >= 1:
            return None
        best = int(np.argmax(np.where(np.arange(len(probs)) == labelled.y[row], -1, probs)))
        return self.run_features.spec.classes[best], float(probs[best])

    def twins(self, row):
        "Rows of its near-duplicates, those with another label first, and their cosines."
        labels, groups = self.run_features.labelled.y, self.run_features.labelled.groups
        mates = np.flatnonzero(groups == groups[row])
        mates = mates[mates != row]
        cosine = self.x[mates] @ self.x[row]
        order = np.lexsort((-cosine, labels[mates] == labels[row]))[:TWINS]
        return list(zip(mates[order].tolist(), cosine[order].tolist(), strict=True))

    def nearest(self, row, label):
        "Rows of the training photos of class number `label` most like it, without near-duplicates."
        labelled = self.run_features.labelled
        train = (self.run_features.shown["split"] == "train").to_numpy()
        others = train & (labelled.y == label) & (labelled.groups != labelled.groups[row])
        found = np.flatnonzero(others)
        found = found[np.argsort(-(self.x[found] @ self.x[row]), kind="stable")]
        first = np.sort(np.unique(labelled.groups[found], return_index=True)[1])
        return found[first[:NEAREST]].tolist()

    def reading(self, row):
        "The key of `READINGS` that fits best."
        labels = self.run_features.labelled.y
        if any(labels[twin] != labels[row] for twin, _ in self.twins(row)):
            return "twin"
        if self.doubt(row):
            return "label"
        return "unlike" if self.rank[row] < UNLIKE else "hard"
