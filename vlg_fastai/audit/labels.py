"""Find doubtful labels from labelled photos and their out-of-fold probabilities."""

import numpy as np
from cleanlab.rank import get_label_quality_scores

from vlg_fastai.audit import issues


def find(photos, labelled):
    """(table of doubtful labels, worst first; (n,) True where --auto may act).

    Lists every photo that out-of-fold probes predict as another class or that confident learning
    (Northcutt et al., 2021) prunes, ranked by normalised margin; --auto takes those pruned both by
    class and by noise rate.
    """
    probs, y = labelled.probs, labelled.y
    margin = get_label_quality_scores(y, probs, method="normalized_margin")
    guess = probs.argmax(1)
    sure = labelled.doubtful & (guess != y)
    either = sure | (guess != y) | labelled.pruned("prune_by_noise_rate")
    names = np.array(sorted(photos["label"].unique()), dtype=object)
    suggested = np.where(np.arange(probs.shape[1]) == y[:, None], -1, probs).argmax(1)
    rows = [
        {
            "file": photos["name"].iloc[i], "label": names[y[i]], "suggested": names[suggested[i]],
            "score": 1 - margin[i],
        }
        for i in np.flatnonzero(either)
    ]  # fmt: skip
    return issues.table("doubtful_label", rows), sure
