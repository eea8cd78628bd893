"""Take photos from elsewhere into a run: find them, list them, hand them to probes and loaders."""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.console import muted, say
from vlg_fastai.data import extra, folder
from vlg_fastai.data.shares import weights
from vlg_fastai.model.more import More
from vlg_fastai.pages import sheet
from vlg_fastai.runs.files import write_csv
from vlg_fastai.train import pseudo

EXTRA, SHEET, SHOWN = "extra.csv", "extra.png", 36
COLUMNS = ["root", "file", "label", "content", "made_from", "used"]


@dataclass(frozen=True)
class Extra:
    """Extra photos: the table of those found (path, content, label, kin; `used`: whether they are
    learned from), `strange`: classes that only they show, what was measured, and the change of
    these classes' logits."""

    table: pd.DataFrame
    strange: tuple[str, ...]
    told: dict
    bias: float = 0.0

    @property
    def mark(self):
        "Hash of what is learned from."
        told = self.used[["content", "label"]].agg(" ".join, axis=1)
        return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()

    @property
    def used(self):
        return self.table[self.table["used"]].reset_index(drop=True)


def found(cfg, every, machine, store):
    """The `Extra` photos that `cfg` asks for, beside the labelled photos `every`; None without.

    Copies are left out, as far as hashes tell.
    """
    if not (cfg.extra or cfg.pseudo):
        return None
    labelled = every[every["split"] != "unused"]
    parts, told = [], {"folders": [str(path) for path in cfg.extra]}
    if cfg.extra:
        parts.append(_of_folders(cfg, labelled))
    if cfg.pseudo:
        table, told["pseudo"] = pseudo.found(cfg, machine, store)
        parts.append(extra.freed(table, labelled, None))
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table = table.drop_duplicates("content", ignore_index=True)
    strange = sorted(set(table["label"]) - set(labelled["label"]))
    if strange:
        say(f"classes that only extra photos show: {', '.join(strange)}")
    left_out = Counter()
    for part in parts:
        left_out.update(part.left_out)
    told |= {"photos": len(table), "used": len(table), "left_out": dict(left_out),
             "strange": strange, "about": sorted(set(table["about"]) - {""})}  # fmt: skip
    return Extra(table.assign(used=True), tuple(strange), told)


def _of_folders(cfg, labelled):
    "The `Freed` photos of --extra; reports them."
    table = extra.found(cfg.extra, sorted(labelled["label"].unique()))
    with muted():
        test = folder.layout(cfg.data, cfg=cfg).test
    made = extra.freed(table, labelled, test)
    extra.say_found(table, made)
    return made


def save(prepared, run):
    "Write extra.csv and a sheet of these photos to the folder of `run`, if there are any."
    if prepared.extra is None:
        return
    table = prepared.extra.table
    write_csv(run.path / EXTRA, table[COLUMNS])
    if len(table):
        path = run.reports / SHEET
        sheet.draw(_cells(table), path, title="photos from elsewhere, by class")
        say(f"extra photos: {path}")


def _cells(table):
    "A cell for each class: a photo that is used and one that is left out, where there are such."
    return [_cell(label, rows) for label, rows in list(table.groupby("label"))[:SHOWN]]


def _cell(label, rows):
    used, odd = rows[rows["used"]], rows[~rows["used"]]
    shown = [sheet.thumbnail(side["path"].iloc[0]) for side in (used, odd) if len(side)]
    which = " (right)" if len(shown) > 1 else ""
    told = [f"{len(used)} used", *([f"{len(odd)} left out{which}"] if len(odd) else [])]
    colour = sheet.RIGHT if len(used) else sheet.WRONG
    return sheet.Cell(shown, [label, ", ".join(told)], colour)


def more_of(prepared):
    "The `More` photos that probes of `prepared` learn from; None without."
    there = prepared.extra
    if there is None or prepared.extractor is None:
        return None
    table, classes = there.used, prepared.spec.classes
    x = prepared.extractor.features(table, prepared.pixels)
    numbers = {label: i for i, label in enumerate(classes)}
    y = table["label"].map(numbers).to_numpy(int)
    taught = prepared.labels[~prepared.held]
    own = np.bincount(taught, minlength=len(classes))
    bias = np.where(np.isin(classes, there.strange), there.bias, 0.0).astype(np.float32)
    return More(x, y, table["kin"].to_numpy(), weights(y, own), bias)
