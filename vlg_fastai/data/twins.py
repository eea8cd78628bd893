"""Group near-duplicate photos by perceptual hashes."""

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vlg_fastai.console import say
from vlg_fastai.data import neighbours

BITS = 8  # dHash distance up to which two photos may be twins
# correlation of small grey copies from which they are. Of seven edits of 300 photos (re-encoded,
# resized, brighter, darker, paler, cropped by 3 %), 0.90 to 1.0 are found; with 4 bits 0.65 to 1.0
ALIKE = 0.95
GREY = 16  # side of that small copy
FEATURES_ALIKE = 0.95  # cosine of features of photos that stay together; no group above 4 of 1,503
MOST_ALIKE = 25  # photos in a group that is never too large
AT_ONCE = 40_000  # grey copies compared at a time: 80 MB


def fingerprint(image):
    """dHash of `image` as uint64, and its small grey copy as (256,) uint8.

    dHash (Krawetz 2013): each bit says whether a pixel of a 9 x 8 grey copy is darker than its
    right neighbour, so it survives re-encoding, resizing and a change of brightness.
    """
    grey = image.convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    copy = np.asarray(grey.resize((GREY, GREY), Image.Resampling.BOX), dtype=np.uint8)
    return bits.view(np.uint64)[0], copy.ravel()


def fingerprints(table):
    "(dHash (n,), grey copies (n, 256)) of a scanned table."
    grey = np.stack([np.frombuffer(copy, dtype=np.uint8) for copy in table["grey"]])
    return table["dhash"].to_numpy(np.uint64), grey


def groups_of(table, x=None):
    "`groups` of a scanned table (columns content, dhash, grey) and its features."
    return groups(table["content"], *fingerprints(table), x)


def groups(content, dhash, grey, x=None):
    """Number of the near-duplicate group of each photo, (n,) int, in order of first appearance.

    content: (n,) content hashes; dhash: (n,) uint64; grey: (n, 256) uint8; x: (n, d) features of a
    frozen backbone, or None. Twins of twins are one group, whatever class folder they are in.
    """
    first, same = _files(content)
    numbers = _by_first_appearance(_linked(len(first), *pairs(dhash[first], grey[first]))[same])
    return numbers if x is None else joined(numbers, content, x)


def joined(numbers, content, x):
    "Merge the groups `numbers` (n,) whose photos are alike by their features `x` (n, d)."
    first = _files(content)[0]
    a, b, _ = feature_pairs(x[first])
    linked = _linked(numbers.max(initial=-1) + 1, numbers[first][a], numbers[first][b])
    return _by_first_appearance(linked[numbers])


def _files(content):
    "(index of the first copy of each file, number of each photo's file)."
    text = np.asarray(content, dtype=str)
    return np.unique(text, return_index=True, return_inverse=True)[1:]


def feature_pairs(x, least=None):
    """(a, b, cosine) of photos alike by their features `x` (n, d); none if nearly all are.

    A group that takes in a large part of all photos is no set of copies: some backbones, and some
    folders, are like that.
    """
    a, b, cosine = neighbours.pairs(x, least or FEATURES_ALIKE)
    groups = _linked(len(x), a, b)
    if len(x) and np.bincount(groups).max() > max(MOST_ALIKE, len(x) / 20):
        say("this backbone finds too many photos alike: near-duplicates are found by hash alone")
        return a[:0], b[:0], cosine[:0]
    return a, b, cosine


def _linked(count, a, b):
    links = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(count, count))
    return connected_components(links, directed=False)[1]


def pairs(dhash, grey):
    """Indices (a, b), a < b, of the photos whose hash and grey copy both agree.

    The hash alone also matches pictures that are merely plain, such as strokes on white: most of
    their bits are zero. The correlation of the grey copies tells them apart.
    """
    a, b = neighbours.near_hashes(dhash, BITS)
    slices = [slice(i, i + AT_ONCE) for i in range(0, len(a), AT_ONCE)]
    alike = [likeness(grey, a[s], b[s]) >= ALIKE for s in slices]
    kept = np.concatenate(alike) if alike else np.zeros(0, dtype=bool)
    return a[kept], b[kept]


def likeness(grey, a, b, mirror=False):
    "(pairs,) correlation of the grey copies (n, 256) of photos `a` with those of `b`, or mirrored."
    other = _standardised(grey[b])
    other = _mirrored(other) if mirror else other
    return np.einsum("ij,ij->i", _standardised(grey[a]), other)


def mirrored_pairs(dhash, grey):
    "Indices (a, b), a < b, of photos that are mirror images of each other."
    bits = np.unpackbits(dhash.view(np.uint8).reshape(-1, 8), axis=1).reshape(-1, 8, 8)
    flipped = np.packbits(1 - bits[:, :, ::-1], axis=2).reshape(-1, 8)
    count = len(dhash)
    both = np.concatenate([dhash, np.ascontiguousarray(flipped).view(np.uint64).ravel()])
    a, b = pairs(both, np.concatenate([grey, _mirrored(grey)]))
    across = (a < count) & (b >= count) & (a < b - count)  # else twice, and with itself
    return a[across], b[across] - count


def _mirrored(grey):
    return grey.reshape(-1, GREY, GREY)[:, :, ::-1].reshape(-1, GREY * GREY)


def _standardised(grey):
    "Rows of zero mean and unit length; a plain surface becomes zeros and has no twin."
    centred = grey.astype(np.float32) - grey.mean(axis=1, keepdims=True, dtype=np.float32)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def _by_first_appearance(numbers):
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def bound(groups, kin):
    """Merge the `groups` (n,) that share a patient, a camera or whatever else `kin` (n,) names.

    An empty name merges nothing.
    """
    kin = np.where(kin == "", [f"\0{i}" for i in range(len(kin))], kin)
    _, one = np.unique(groups, return_inverse=True)
    _, other = np.unique(kin, return_inverse=True)
    size = one.max() + 1 + other.max() + 1
    links = coo_array((np.ones(len(one)), (one, one.max() + 1 + other)), shape=(size, size))
    _, joined = connected_components(links, directed=False)
    return joined[one]
