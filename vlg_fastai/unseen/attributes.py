"""Build an expert on every class of a table of attributes, from that table and features."""

import csv
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.special import softmax

from vlg_fastai.config import UserError
from vlg_fastai.data.neighbours import unit
from vlg_fastai.unseen.names import unnumbered, words

STRENGTHS = tuple(10.0**power for power in range(-3, 4))  # tried for both penalties
PENALTIES = [(g, l2) for g in STRENGTHS for l2 in STRENGTHS]
TAUS = (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


def read(path):
    """{class as a person writes it, in lower case: (attributes,) float} of the table at `path`.

    A CSV with the class in its first column, or a matrix of numbers like AwA2's, whose classes are
    listed in classes.txt beside it. Words become one column each, numbers are scaled to 0..1.
    """
    try:
        rows = _csv(path) if path.suffix.lower() == ".csv" else _matrix(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--attributes {path}: cannot be read as UTF-8 text ({error})") from None
    names = [words(row[0]).lower() for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"--attributes {path}: the class {twice!r} occurs twice")
    columns = [_column(values) for values in zip(*(row[1:] for row in rows), strict=True)]
    if not all(np.isfinite(column).all() for column in columns):
        raise UserError(f"--attributes {path}: holds values that are not finite (nan, inf)")
    return dict(zip(names, np.concatenate(columns, axis=1), strict=True))


def _csv(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        raise UserError(f"--attributes {path}: needs a class and its attributes on every line")
    return rows


def _matrix(path):
    listed = path.with_name("classes.txt")
    if not listed.is_file():
        raise UserError(f"--attributes {path}: needs {listed} beside it to name each line's class")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = [n.strip() for n in listed.read_text(encoding="utf-8").splitlines() if n.strip()]
    names = unnumbered(names)
    if len(lines) != len(names) or len({len(line) for line in lines}) > 1:
        raise UserError(
            f"--attributes {path}: {len(lines)} lines, but {len(names)} classes in {listed}, or"
            " lines of different lengths"
        )
    return [[name, *line] for name, line in zip(names, lines, strict=True)]


def _column(values):
    """One attribute as columns of numbers between 0 and 1.

    A blank cell is 0, and so is -1 where all else is positive: AwA2 writes it for unknown values.
    """
    try:
        numbers = np.array([value.strip() or "0" for value in values], float)
    except ValueError:
        kinds = sorted({value for value in values if value.strip()})
        return np.array([[float(value == kind) for kind in kinds] for value in values])
    if (numbers[numbers != -1] >= 0).all():
        numbers = np.where(numbers == -1, 0, numbers)
    low = min(numbers.min(), 0)
    return ((numbers - low) / max(numbers.max() - low, 1e-9))[:, None]


def signatures(table, names, path):
    "Attributes (names, attributes), centred, of length one; UserError for a name without a row."
    found = [_row(table, name) for name in names]
    lacking = [name.label for name, row in zip(names, found, strict=True) if row is None]
    if lacking:
        raise UserError(
            f"--attributes {path}: no row for {', '.join(lacking[:3])}"
            f"{' and others' if len(lacking) > 3 else ''}; add the row or drop the name"
        )
    rows = np.stack(found) - np.mean(found, axis=0)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _row(table, name):
    keys = (key.lower() for key in (words(name.label), *name.prompts))
    return next((table[key] for key in keys if key in table), None)


@dataclass(frozen=True)
class AttributesExpert:
    """ESZSL (Romera-Paredes & Torr, 2015): a bilinear map from features to attributes.

    V = (X'X + g I)^-1 X'Y A (A'A + l I)^-1, and a class scores x'V a. A fold gets a map that never
    saw its held-out classes; g and l are those that name held-out classes best.
    """

    fits: dict  # training rows, as bytes -> scores (n, names) of the labelled photos
    test: np.ndarray
    words: str
    taus = TAUS

    @classmethod
    def of(cls, labelled, test, evidence, names, path):
        a = signatures(read(path), names, path)
        x = unit(labelled.x)
        maps = {fold.train.tobytes(): Bilinear.of(x, labelled.y, fold.train, a)
                for fold in evidence.folds}  # fmt: skip
        rates = _rates(maps, evidence.folds, x, labelled.y)
        fits = {  # a fold's own held-out photos are not used to choose its penalties
            key: made.scores(x, PENALTIES[np.delete(rates, i, axis=1).mean(1).argmax()])
            for i, (key, made) in enumerate(maps.items())
        }
        whole = Bilinear.of(x, labelled.y, labelled.sound, a)
        scores = whole.scores(unit(test), PENALTIES[rates.mean(1).argmax()])
        return cls(fits, scores, f"the attributes in {path}")

    def of_labelled(self, rows, columns, tau, train):
        return softmax(self.fits[train.tobytes()][np.ix_(rows, columns)] / tau, axis=1)

    def of_test(self, columns, tau):
        return softmax(self.test[:, columns] / tau, axis=1)


@dataclass(frozen=True)
class Bilinear:
    "What the map needs for any two penalties: eigenvectors of X'X and A'A, and X'YA in between."

    basis: np.ndarray
    lengths: np.ndarray
    middle: np.ndarray
    signs: np.ndarray
    sizes: np.ndarray
    a: np.ndarray
    shown: np.ndarray  # features of the fit in that basis

    @classmethod
    def of(cls, x, y, rows, a):
        shown, kinds = x[rows], np.unique(y[rows])
        truth = np.where(y[rows][:, None] == kinds, 1.0, -1.0).astype(np.float32)
        lengths, basis = eigh(shown.T @ shown)
        sizes, signs = eigh(a[kinds].T @ a[kinds])
        middle = basis.T @ (shown.T @ truth) @ a[kinds] @ signs
        return cls(basis, lengths, middle, signs, sizes, a, shown @ basis)

    def turned(self, x):
        "Features `x` (n, d) in the basis of the map: the same for all penalties."
        return x @ self.basis

    def named(self, turned, penalties):
        "(n, names) scores of `turned` features."
        g, l2 = penalties
        core = self.middle / (np.maximum(self.lengths, 0)[:, None] + g)
        core = core / (np.maximum(self.sizes, 0) + l2)
        return turned @ core @ (self.a @ self.signs).T

    def scores(self, x, penalties):
        "(n, names) scores of features `x`, in units of their spread on the photos of the fit."
        spread = float(self.named(self.shown, penalties).std())
        return self.named(self.turned(x), penalties) / max(spread, 1e-9)


def _rates(maps, folds, x, y):
    "(penalties, folds) accuracy of naming held-out photos among the held-out classes."
    asked = [(maps[fold.train.tobytes()], fold.rows[fold.new], fold.held) for fold in folds]
    asked = [(made, made.turned(x[rows]), y[rows], held) for made, rows, held in asked]
    return np.array([
        [(held[made.named(photos, pair)[:, held].argmax(1)] == truth).mean()
         for made, photos, truth, held in asked]
        for pair in PENALTIES
    ])  # fmt: skip
