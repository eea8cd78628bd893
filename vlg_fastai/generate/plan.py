"""Decide which photos to generate, and note those that are there: a stopped command goes on."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.data.walking import SOURCE
from vlg_fastai.runs.files import write_csv
from vlg_fastai.runs.run import safe_name
from vlg_fastai.unseen.names import words

PLAIN = r"\w(?:[\w .,'&()+-]*[\w)+-])?"  # names that every file system takes
COLUMNS = ["file", "label", "made_from", "prompt", "seed", "model", "licence"]


@dataclass(frozen=True)
class Wish:
    "A photo to generate: class, number, prompt, and the photo to start from, or None."

    label: str
    number: int
    prompt: str
    path: object = None  # of a photo of the class
    made_from: str = ""  # the same as the data folder names it

    @property
    def file(self):
        how = "own" if self.made_from else "name"
        return f"{folder_of(self.label)}/{how}-{self.number:04d}.jpg"

    def seed(self, base):
        "A seed of its own, whatever the order: the same photo if it is generated again."
        return int.from_bytes(_digest(f"{base} {self.file}"))


def wishes(cfg, table, names):
    """The `Wish`es for the labelled photos `table` and the `Names` of classes without photos.

    Rare classes are made from their own photos; names without photos, and some known classes, from
    words alone. UserError if there is nothing to generate.
    """
    counts = table["label"].value_counts()
    rare = sorted(counts.index[counts < cfg.rare])
    found = [wish for label in rare for wish in _from_own(cfg, table[table["label"] == label])]
    if names.unseen:
        found += [wish for name in names.unseen for wish in _from_words(cfg, name)]
        known = [name for name in names.known if name.label in counts.index]
        order = np.random.default_rng(cfg.seed).permutation(len(known))[: cfg.swap]
        found += [wish for i in sorted(order) for wish in _from_words(cfg, known[i])]
    if not found:
        raise UserError(f"--unseen: nothing to generate: no class has fewer than {cfg.rare} photos;"
                        " give a file of names of classes without photos")  # fmt: skip
    return found


def folder_of(label):
    "The folder of a label: its name, or, if not every file system takes it, a safe one of its own."
    if re.fullmatch(PLAIN, label):
        return label
    return f"{safe_name(label)}-{_digest(label).hex()}"


def _digest(text):
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).digest()


def _from_own(cfg, rows):
    pairs = list(zip(rows["path"], rows["file"], strict=True))
    label = rows["label"].iloc[0]
    prompt = cfg.prompt.replace("{}", words(label))
    return [Wish(label, i, prompt, *pairs[i % len(pairs)]) for i in range(cfg.count)]


def _from_words(cfg, name):
    told = [cfg.prompt.replace("{}", words(prompt)) for prompt in name.prompts]
    return [Wish(name.label, i, told[i % len(told)]) for i in range(cfg.count)]


@dataclass
class Ledger:
    "source.csv in the folder of generated photos: a row a photo."

    path: object
    rows: list

    @classmethod
    def of(cls, folder):
        path = folder / SOURCE
        rows = pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else None
        if rows is not None and not set(COLUMNS) <= set(rows):
            raise UserError(f"--out {folder}: {SOURCE} there is not of this command; give another")
        return cls(path, [] if rows is None else rows[COLUMNS].to_dict("records"))

    def missing(self, found):
        "Those of the wishes `found` whose photo is not there yet."
        there = {row["file"] for row in self.rows if (self.path.parent / row["file"]).is_file()}
        return [wish for wish in found if wish.file not in there]

    def note(self, wish, seed, model, licence):
        "Add the row of a photo that was written."
        told = [wish.file, wish.label, wish.made_from, wish.prompt, str(seed), model, licence]
        self.rows = [row for row in self.rows if row["file"] != wish.file]
        self.rows.append(dict(zip(COLUMNS, told, strict=True)))
        write_csv(self.path, pd.DataFrame(self.rows, columns=COLUMNS))
