"""Doubt labels by confident learning."""

import warnings

import numpy as np
from cleanlab.filter import find_label_issues


def pruned(y, probs, filter_by="both"):
    """(n,) True where cleanlab prunes the label `y` (n,) under out-of-fold `probs` (n, classes).

    A class without a label here, which only extra photos show, is left out of account: cleanlab
    needs every class to occur (Northcutt et al., 2021).
    """
    there, places = np.unique(y, return_inverse=True)
    if len(there) < 2:
        return np.zeros(len(y), bool)
    some = probs[:, there]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about every class with few photos
        some = some / some.sum(1, keepdims=True)
        return find_label_issues(places, some, filter_by=filter_by, n_jobs=1)
