"""Find pairs of twins by fingerprints and features: each pair once, under one name."""

import numpy as np

from vlg_fastai.audit import issues
from vlg_fastai.data import twins

NEAR, REVIEW = 0.99, 0.95  # cosine of features of twins, and of pairs for a person to review
KINDS = ("train_test_twin", "cross_class_twin", "exact_twin", "near_twin", "mirrored_twin",
         "review_twin")  # fmt: skip


def find(photos, x):
    """One table per kind of twin, from the table `photos` and their features `x` (n, d), or None.

    photos: columns name, label ('' for test photos), folder, side (train, valid or test), content,
    dhash, grey. The score is the cosine of features, or the correlation of the small grey copies.
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
    """{kind: (a, b, score)}, the surest kind first.

    One of several equal files stands for all when compared with other photos.
    """
    content = photos["content"].to_numpy(str)
    first = np.sort(np.unique(content, return_index=True)[1])
    dhash, grey = twins.fingerprints(photos.iloc[first])
    near, mirrored = twins.pairs(dhash, grey), twins.mirrored_pairs(dhash, grey)
    found = {
        "near_twin": [(*near, twins.likeness(grey, *near))],
        "mirrored_twin": [(*mirrored, twins.likeness(grey, *mirrored, mirror=True))],
    }
    if x is not None:
        a, b, cosine = twins.feature_pairs(x[first], REVIEW)
        sure = cosine >= NEAR
        found["near_twin"].append((a[sure], b[sure], cosine[sure]))
        found["review_twin"] = [(a[~sure], b[~sure], cosine[~sure])]
    joined = {kind: [np.concatenate(side) for side in zip(*parts, strict=True)]
              for kind, parts in found.items()}  # fmt: skip
    back = {kind: (first[a], first[b], score) for kind, (a, b, score) in joined.items()}
    return {"exact_twin": _same(photos), **back}


def _same(photos):
    "Pairs of equal files: each with the first in its folder, and firsts with the first of all."
    a, b, heads, firsts = [], [], {}, {}
    keys = zip(photos["content"], photos["side"], photos["folder"], strict=True)
    for i, key in enumerate(keys):
        if key in heads:
            a.append(heads[key])
            b.append(i)
        elif key[0] in firsts:
            a.append(firsts[key[0]])
            b.append(i)
        heads.setdefault(key, i)
        firsts.setdefault(key[0], i)
    return np.array(a, int), np.array(b, int), np.ones(len(a))


def _names(photos, a, b, kind):
    "Issues that a pair is listed under; for a sure twin, crossing sides or classes comes first."
    sides, labels = (photos[column].to_numpy()[[a, b]] for column in ("side", "label"))
    test = [side == "test" for side in sides]
    if all(test):
        return []  # nothing to decide here
    if any(test):
        return ["train_test_twin"] if kind in ("exact_twin", "near_twin") else []
    if labels[0] != labels[1] and kind in ("exact_twin", "near_twin"):
        return ["cross_class_twin"]
    return [kind]


def _row(photos, a, b, kind, score):
    "The later of the two is the copy; in a pair to review, either may be."
    first, second = photos.iloc[a], photos.iloc[b]
    if second["side"] == "test":  # nothing to decide about that one
        first, second = second, first
    row = {"file": second["name"], "label": second["label"], "score": score}
    if kind == "review_twin":
        return {**row, "suggested": first["name"]}
    return {**row, "twin_of": first["name"],
            "suggested": first["label"] if kind == "cross_class_twin" else ""}  # fmt: skip
