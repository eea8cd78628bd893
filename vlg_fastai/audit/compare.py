"""Labelled photos as they are and as decided in, what the decisions are worth out."""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from vlg_fastai.console import say
from vlg_fastai.model import probe


def report(look, known, made):
    """Say how the probe does out of fold with and without the decisions `made`; the difference.

    Both are judged on the same photos: those without doubt and without a decision. A probe that was
    taught the folder's labels is as honest about these as one that was taught the decided ones.
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
    sure = ~known.doubtful & ~decided
    right = [
        (fold.logits.argmax(1) == known.y)[sure].astype(float) for fold in (before, known.fold)
    ]
    gain = right[1] - right[0]
    found = (
        bootstrap((gain,), np.mean, method="basic", rng=0).confidence_interval
        if gain.any()
        else None
    )
    low, high = (found.low, found.high) if found else (0.0, 0.0)
    say(
        f"out of fold on {sure.sum()} photos that nobody doubts: {right[0].mean():.4f} with the"
        f" folder's labels, {right[1].mean():.4f} with {decided.sum()} decisions:"
        f" {gain.mean():+.4f} (95 %: {low:+.4f} to {high:+.4f})"
    )
    return float(gain.mean())
