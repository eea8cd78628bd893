"""Perceptual hashes in, groups of near-duplicate photos out."""

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 4  # dHash distance up to which two photos may be twins
ALIKE = 0.95  # correlation of small grey copies from which they are
GREY = 16  # side of that small copy
MOST_AT_ONCE = 10_000_000  # numbers compared at a time: 80 MB, however many photos there are


def fingerprint(image):
    """dHash of `image` as uint64, and its small grey copy as (256,) uint8.

    dHash (Krawetz 2013): each bit says whether a pixel of a 9 x 8 grey copy is darker than its
    right neighbour, so it outlives re-encoding, resizing and a change of brightness.
    """
    grey = image.convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    copy = np.asarray(grey.resize((GREY, GREY), Image.Resampling.BOX), dtype=np.uint8)
    return bits.view(np.uint64)[0], copy.ravel()


def groups(content, dhash, grey):
    """Number of the near-duplicate group of each photo, (n,) int, counted by first appearance.

    content: (n,) content hashes; dhash: (n,) uint64; grey: (n, 256) uint8. Twins of twins are
    one group, whatever class folder they lie in.
    """
    _, first, same = np.unique(
        np.asarray(content, dtype=str), return_index=True, return_inverse=True
    )
    a, b = pairs(dhash[first], grey[first])
    links = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(len(first),) * 2)
    return _by_first_appearance(connected_components(links, directed=False)[1][same])


def pairs(dhash, grey):
    """Indices (a, b), a < b, of the photos whose hash and grey copy both agree.

    The hash alone also joins pictures that are merely plain, such as strokes on white: most of
    their bits are zero. The correlation of the grey copies tells them apart.
    """
    light = _standardised(grey)
    rows = max(1, MOST_AT_ONCE // max(len(dhash), 1))
    found = [_pairs_of(start, rows, dhash, light) for start in range(0, len(dhash), rows)]
    return tuple(np.concatenate(side) for side in zip(*found, strict=True)) if found else ([], [])


def _pairs_of(start, rows, dhash, light):
    near = np.bitwise_count(dhash[start : start + rows, None] ^ dhash[None, start:]) <= BITS
    a, b = (side + start for side in np.nonzero(np.triu(near, k=1)))
    slices = [
        slice(i, i + MOST_AT_ONCE // GREY**2) for i in range(0, len(a), MOST_AT_ONCE // GREY**2)
    ]
    alike = [np.einsum("ij,ij->i", light[a[s]], light[b[s]]) >= ALIKE for s in slices]
    kept = np.concatenate(alike) if alike else np.zeros(0, dtype=bool)
    return a[kept], b[kept]


def _standardised(grey):
    "Rows of zero mean and unit length; a plain surface becomes zeros and is nobody's twin."
    centred = grey.astype(np.float32) - grey.mean(axis=1, keepdims=True, dtype=np.float32)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def _by_first_appearance(numbers):
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
