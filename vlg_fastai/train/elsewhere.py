"""Take photos from elsewhere into a run: find them, list them, hand them to probes and loaders."""

import hashlib
from dataclasses import dataclass, replace

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
COLUMNS = ["root", "file", "label", "content", "source", "made_from", "used", "why"]
FEW = 8  # photos of a class that a dry run looks at


@dataclass(frozen=True)
class Extra:
    """Extra photos: the table of those found (path, content, label, kin; `used`: whether they are
    learned from; `why` not), `strange`: classes that only they show, what was measured, and the
    change of these classes' logits. asked: test photos that --pseudo may choose from, or None."""

    table: pd.DataFrame
    strange: tuple[str, ...]
    told: dict
    asked: pd.DataFrame | None = None
    bias: float = 0.0

    @property
    def mark(self):
        "Hash of what is learned from."
        told = self.used[["content", "label"]].agg(" ".join, axis=1)
        return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()

    @property
    def used(self):
        return self.table[self.table["used"]].reset_index(drop=True)

    @property
    def every(self):
        "All photos that may be learned from, whatever their source."
        return self.table if self.asked is None else pd.concat([self.table, self.asked])

    def without(self, rows, why):
        "With the photos `rows` (n,) left out, and the reason."
        odd = self.table["used"] & rows
        table = self.table.assign(used=self.table["used"] & ~odd)
        return replace(self, table=table.assign(why=table["why"].mask(odd, why)))


def found(cfg, every):
    """The `Extra` photos that `cfg` asks for, beside the labelled photos `every`; None without.

    Copies are left out, as far as hashes tell.
    """
    if not (cfg.extra or cfg.pseudo):
        return None
    labelled = every[every["split"] != "unused"]
    known = sorted(labelled["label"].unique())
    made = _of_folders(cfg, labelled, known)
    strange = () if cfg.dry_run else tuple(sorted(set(made.table["label"]) - set(known)))
    if strange:
        say(f"classes that only extra photos show: {', '.join(strange)}")
    told = {"folders": [str(path) for path in cfg.extra], "photos": len(made.table),
            "left_out": made.left_out, "strange": list(strange),
            "about": sorted(set(made.table["about"]) - {""})}  # fmt: skip
    asked = pseudo.asked(cfg) if cfg.pseudo else None
    table = made.table.assign(used=made.table["label"].isin([*known, *strange]), why="")
    return Extra(table, strange, told, asked)


def _of_folders(cfg, labelled, known):
    "The `Freed` photos of --extra; reports them."
    if not cfg.extra:
        return extra.Freed(labelled.iloc[:0].assign(made_from="", about="", kin=extra.OF_NONE), {})
    table = extra.found(cfg.extra, known, FEW if cfg.dry_run else None)
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
        say(f"photos from elsewhere: {path}")


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
    table, spec = there.used, prepared.spec
    x = prepared.extractor.features(table, prepared.pixels)
    y = spec.places(table["label"])
    own = np.bincount(prepared.labels[~prepared.held], minlength=len(spec.classes))
    bias = np.where(np.isin(spec.classes, there.strange), there.bias, 0.0).astype(np.float32)
    return More(x, y, table["kin"].to_numpy(int), weights(y, own), bias)
