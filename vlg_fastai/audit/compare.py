"""Measure how much decisions help, on labelled photos with and without them."""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from vlg_fastai.console import say
from vlg_fastai.model import probe
from vlg_fastai.unseen.folds import Labelled


def say_worth(look, known, made):
    """Report out-of-fold accuracy with and without the decisions `made`; return the gain.

    Both are judged on the same photos: those without a decision that neither of them doubts.
    """
    photos = look.photos[look.labelled].reset_index(drop=True)
    given = pd.Categorical(photos["folder"], categories=sorted(photos["label"].unique())).codes
    if (given < 0).any() or not len(made):
        say(f"--compare: no decision in {made.path} changes a label that can be compared")
        return None
    before = probe.out_of_fold(
        known.x, given.astype(int), known.groups, known.classes, look.store, known.seed
    )
    decided = np.array([key in made.made for key in
                        zip(photos["content"], photos["folder"], strict=True)])  # fmt: skip
    arms = [Labelled(known.x, y, known.groups, fold, known.seed)
            for y, fold in ((given.astype(int), before), (known.y, known.fold))]  # fmt: skip
    sure = ~arms[0].doubtful & ~arms[1].doubtful & ~decided  # what either doubts is left out
    right = [(arm.fold.logits.argmax(1) == known.y)[sure].astype(float) for arm in arms]
    gain, changed = right[1] - right[0], int((given != known.y).sum())
    told = "no prediction differs"
    if gain.any():
        told = "95 %: {:+.4f} to {:+.4f}".format(*interval(gain, known.groups[sure]))
    say(
        f"out of fold on {sure.sum()} photos without doubtful labels: {right[0].mean():.4f} with"
        f" the folder's labels, {right[1].mean():.4f} with {changed} changed ones:"
        f" {gain.mean():+.4f} ({told}); dropped photos are in neither"
    )
    return float(gain.mean())


def interval(gain, groups):
    "The 95 % interval (low, high) of the mean `gain` (n,): near-duplicates are drawn together."
    at = np.unique(groups, return_inverse=True)[1]
    of_groups = np.bincount(at, gain), np.bincount(at)
    return bootstrap(
        of_groups, _mean, paired=True, method="basic", rng=0, batch=50
    ).confidence_interval


def _mean(sums, sizes, axis=-1):
    return sums.sum(axis) / sizes.sum(axis)
