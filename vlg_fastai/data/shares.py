"Decide how often training samples each photo: labelled ones, and extra ones beside them."

import numpy as np
import pandas as pd

BALANCES = {"equal": -1.0, "sqrt": -0.5}  # power of a class's size that weights its photos

# share of a class's weight that its extra photos get: a tenth, as Diff-Mix replaces (Wang et al.,
# 2024); half where the class has few photos of its own
SHARE, SHARE_OF_FEW, FEW = 0.1, 0.5, 20


def weights(y, own):
    """(m,) weight of each extra photo of classes `y` (m,); own (classes,): labelled photos of each.

    Together those of a class have `SHARE` of its weight, or `SHARE_OF_FEW` if it has fewer than
    `FEW` labelled photos. A class that only extra photos show weighs as much as the mean one.
    """
    count = np.bincount(y, minlength=len(own))
    share = np.where(own < FEW, SHARE_OF_FEW, SHARE)
    total = np.where(own > 0, own * share / (1 - share), own[own > 0].mean())
    return np.minimum(total / np.maximum(count, 1), 1.0)[y]


def class_weights(table, balance="equal"):
    "One weight per row, so that each class is sampled as often as `balance` (`BALANCES`) says."
    counts = table.loc[table["split"] == "train", "label"].value_counts()
    return (table["label"].map(counts) ** BALANCES[balance]).to_numpy(np.float64)


def draws(table, cfg, extras=True):
    """One weight per row, by which its photo is sampled in training: as `--balance` says, or equal.

    With `extra` photos in the table, those of a class take the share of its draws that they have of
    its weight in a probe; without `extras`, none, except of classes that only they show.
    """
    own = ~table.get("extra", pd.Series(False, table.index)).to_numpy(bool)
    if own.all():
        return class_weights(table, cfg.balance) if cfg.weighted else np.ones(len(table))
    taught = own & (table["split"] == "train").to_numpy()
    numbers, kinds = pd.factorize(table["label"])
    count = np.bincount(numbers[taught], minlength=len(kinds))
    made = np.ones(len(table))
    made[~own] = weights(numbers[~own], count) * (extras | (count[numbers[~own]] == 0))
    if cfg.weighted:
        total = np.bincount(numbers, made * (taught | ~own), minlength=len(kinds))
        made *= (np.maximum(total, 1e-9) ** BALANCES[cfg.balance])[numbers]
    return made


def length(taught):
    "{n: photos of an epoch}: labelled ones and those of classes that have no others."
    if "extra" not in taught:
        return {}
    own = taught.loc[~taught["extra"], "label"]
    return {"n": len(own) + int((~taught["label"].isin(own)).sum())}
