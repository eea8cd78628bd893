"""Photos with fingerprints and features in, pairs of twins out: each pair once, under one name."""

import numpy as np

from vlg_fastai.audit import issues
from vlg_fastai.data import twins

NEAR, REVIEW = 0.99, 0.95  # cosine of features of twins, and of what a person should look at
KINDS = ("train_test_twin", "cross_class_twin", "exact_twin", "near_twin", "mirrored_twin",
         "review_twin")  # fmt: skip


def find(photos, x):
    """One table a kind of twin, of the table `photos` and their features `x` (n, d), or None.

    photos: columns name, label ('' for test photos), side (train, valid or test), content, dhash,
    grey. The score is the cosine of features, or the correlation of the small grey copies.
    """
    found = {}
    for kind, (a, b, score) in _candidates(photos, x).items():
        for pair in zip(a, b, score, strict=True):
            key = (int(min(pair[:2])), int(max(pair[:2])))
            found.setdefault(key, (kind, float(pair[2])))  # the surest kind comes first
    rows = {kind: [] for kind in KINDS}
    for (a, b), (kind, score) in sorted(found.items()):
        for name in _names(photos, a, b, kind):
            rows[name].append(_row(photos, a, b, name, score))
    return [issues.table(kind, rows[kind]) for kind in KINDS]


def _candidates(photos, x):
    "{kind: (a, b, score)}, the surest kind first."
    dhash = photos["dhash"].to_numpy(np.uint64)
    grey = np.stack([np.frombuffer(copy, np.uint8) for copy in photos["grey"]])
    near = twins.pairs(dhash, grey)
    found = {
        "exact_twin": _same(photos["content"].to_numpy(str)),
        "near_twin": (*near, twins.likeness(grey, *near)),
    }
    mirrored = twins.mirrored_pairs(dhash, grey)
    if x is not None:
        a, b, cosine = twins.feature_pairs(x, REVIEW)
        sure = cosine >= NEAR
        found["near_twin"] = tuple(map(np.concatenate, zip(
            found["near_twin"], (a[sure], b[sure], cosine[sure]), strict=True)))  # fmt: skip
        found["review_twin"] = a[~sure], b[~sure], cosine[~sure]
    found["mirrored_twin"] = (*mirrored, twins.likeness(grey, *mirrored, mirror=True))
    order = ("exact_twin", "near_twin", "mirrored_twin", "review_twin")
    return {kind: found[kind] for kind in order if kind in found}


def _same(content):
    "Pairs of equal contents: each copy with the first."
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[inverse] != np.arange(len(content)))
    return first[inverse][copies], copies, np.ones(len(copies))


def _names(photos, a, b, kind):
    "Under which issues a pair is listed: a sure twin across sides or classes is that first of all."
    sides, labels = (photos[column].to_numpy()[[a, b]] for column in ("side", "label"))
    test = [side == "test" for side in sides]
    if all(test):
        return []  # nobody has to decide about these
    if any(test):
        return ["train_test_twin"] if kind in ("exact_twin", "near_twin") else []
    if labels[0] != labels[1] and kind in ("exact_twin", "near_twin"):
        return ["cross_class_twin"]
    return [kind]


def _row(photos, a, b, kind, score):
    "The later of the two is the copy; of a pair to review nobody knows which."
    first, second = photos.iloc[a], photos.iloc[b]
    if first["side"] == "test":
        first, second = second, first
    return {
        "file": second["name"], "label": second["label"], "score": score,
        "twin_of": first["name"],
    }  # fmt: skip
