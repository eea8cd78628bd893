"""Find close pairs of features or hashes; large sets go through an index, not all pairs."""

import numpy as np
from scipy.sparse.linalg import svds
from usearch.index import Index

FEW = 8_000  # photos up to which all pairs are compared: a second or two
AXES = 128  # dimensions of the index: enough to find a pair; its cosine is then computed in full
NEIGHBOURS = 16  # of each photo that are checked; a larger cluster of copies is linked in chains
SLACK = 0.05  # how much lower the cosine of a pair may be in the axes of the index
BLOCK = 1_000


def pairs(x, least):
    """(a, b, cosine) of pairs a < b of features `x` (n, d) whose cosine is at least `least`."""
    rows = unit(x)
    a, b = _all_pairs(rows, least) if len(x) <= FEW else _near_pairs(rows, least)
    cosine = np.concatenate(
        [np.zeros(0, np.float32)]
        + [np.einsum("ij,ij->i", rows[a[i : i + BLOCK]], rows[b[i : i + BLOCK]])
           for i in range(0, len(a), BLOCK)]
    )  # fmt: skip
    kept = cosine >= least
    return a[kept], b[kept], cosine[kept]


def unit(x):
    "Features (n, d) scaled to length one, float32."
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def _all_pairs(rows, least):
    found = [np.zeros((0, 2), int)]
    for start in range(0, len(rows), BLOCK):
        near = rows[start : start + BLOCK] @ rows[start:].T >= least - 1e-4
        found.append(np.argwhere(np.triu(near, k=1)) + start)
    return np.concatenate(found).T


def _near_pairs(rows, least):
    "Pairs among each photo's nearest neighbours in an HNSW index (Malkov & Yashunin, 2018)."
    small = unit(rows @ _axes(rows))
    index = Index(ndim=small.shape[1], metric="cos", dtype="f16")
    index.add(np.arange(len(small)), small, threads=1)  # more would differ from run to run
    return _within(index.search(small, NEIGHBOURS), 1 - least + SLACK)


def near_hashes(hashes, most):
    "(a, b), a < b, of `hashes` (n,) uint64 that differ in at most `most` bits."
    if len(hashes) <= FEW:
        found = [np.zeros((0, 2), int)]
        for start in range(0, len(hashes), BLOCK):
            bits = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[None, start:])
            found.append(np.argwhere(np.triu(bits <= most, k=1)) + start)
        return np.concatenate(found).T
    index, rows = Index(ndim=64, metric="hamming", dtype="b1"), hashes.view(np.uint8).reshape(-1, 8)
    index.add(np.arange(len(hashes)), rows, threads=1)
    return _within(index.search(rows, 2 * NEIGHBOURS), most)


def _within(found, furthest):
    "Unique pairs (a, b), a < b, from the matches of an index."
    rows = np.repeat(np.arange(len(found.keys)), found.keys.shape[1])
    keys = found.keys.ravel().astype(int)
    near = (found.distances.ravel() <= furthest) & (keys != rows)
    return np.unique(np.sort(np.column_stack([rows[near], keys[near]]), axis=1), axis=0).T


def _axes(rows):
    "(d, AXES) directions in which a sample of the features varies most."
    sample = rows[np.random.default_rng(0).permutation(len(rows))[:4_000]]
    return svds(sample, k=min(AXES, min(sample.shape) - 1), random_state=0)[2].T
