"""Prepare everything a run's models are built from: photos, split, pretrained backbone."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from vlg_fastai.config import TrainConfig, size_of
from vlg_fastai.console import say
from vlg_fastai.data import decisions, folding, labels, scan, split
from vlg_fastai.data.degrade import JUDGING, DegradedPixels
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.data.store import Store
from vlg_fastai.demo import challenge
from vlg_fastai.machine.device import Machine
from vlg_fastai.model import backbone, bundle, probe
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.train import earning, elsewhere

FEW = 8  # classes, and photos per class, that a dry run uses


@dataclass(frozen=True)
class Prepared:
    """What a run's models are built from: `table` of the photos in use, `every` file, how photos
    are shown; `extractor` is None without pretrained weights, `extra` without such photos."""

    cfg: TrainConfig
    machine: Machine
    store: Store
    every: pd.DataFrame
    table: pd.DataFrame
    spec: bundle.ModelSpec
    pixels: Pixels
    extractor: FeatureExtractor | None
    extra: elsewhere.Extra | None = None

    @property
    def labels(self):
        "(photos,) class index of each photo's label."
        return self.spec.places(self.table["label"])

    @property
    def groups(self):
        "(photos,) number of each photo's near-duplicate group."
        return self.table["group"].to_numpy()

    @property
    def held(self):
        "(photos,) True where a photo is held out."
        return (self.table["split"] == "valid").to_numpy()

    @cached_property
    def copies(self):
        "Pixels of the degraded copies that candidates are judged on; None if not used."
        chosen = self.cfg.epochs and self.cfg.choose == "robust" and self.held.any()
        return DegradedPixels(self.pixels, JUDGING) if chosen else None

    @cached_property
    def copy_features(self):
        "(held-out photos, d) frozen-backbone features of these copies; not cached."
        return self.extractor.of_copies(self.table[self.held], self.copies)

    @cached_property
    def training_side(self):
        """(features (n, d), labels (n,), the `OutOfFold` of probes) of photos not held out.

        Everything fine-tuning starts or learns from comes from here: it contains no held-out label.
        """
        rows = ~self.held
        x = self.extractor.features(self.table[rows], self.pixels)
        y, groups, classes = self.labels[rows], self.groups[rows], len(self.spec.classes)
        given = x, y, groups, classes, self.store, self.cfg.seed
        return x, y, probe.out_of_fold_beside(self.more, *given)

    @cached_property
    def more(self):
        "The extra photos that probes learn from too, as `More`; None without."
        return elsewhere.more_of(self)

    @cached_property
    def taught(self):
        "The table of the photos of both sides, and of the extra ones (`extra` True) for training."
        if self.extra is None:
            return self.table
        more = self.extra.used.assign(split="train", extra=True)
        return pd.concat([self.table.assign(extra=False), more], ignore_index=True)


def settle_and_scan(cfg, source):
    "(cfg with data, arch and size resolved, table of all files, labels as decided)."
    layout, size = challenge.layout_of(cfg), size_of(cfg, source.arch)
    if layout.is_demo:
        say(
            f"using the generated challenge in {layout.root}, with --arch {source.arch}"
            f" --size {size} --epochs {cfg.epochs}; the hub is not contacted"
        )
    if layout.labels is not None:
        cfg = labels.settled(cfg, layout)
    made = decisions.read(decisions.find(cfg.decisions, layout.root))
    scanned = made.replayed(scan.scan_classes(layout, FEW if cfg.dry_run else None, cfg))
    made.say(scanned)
    scan.check(scanned)
    scan.say_counts(scanned[scanned["problem"] != decisions.DROPPED])
    settled = {"data": layout.root.resolve(), "arch": source.arch, "size": size}
    if cfg.extra:
        settled["extra"] = tuple(path.resolve() for path in cfg.extra)
    if len(made):  # a repeated run, and predict, must find them from anywhere
        settled["decisions"] = made.path.resolve()
    return dataclasses.replace(cfg, **settled), scanned


def prepare(cfg, source, scanned, machine, before=None):
    """Turn the table `scanned` into `Prepared`: decode photos, load the backbone, split.

    before: split.csv of the run being resumed, whose sides are kept.
    """
    store, view = Store.asked_for(cfg), backbone.view(source.arch, cfg.size, cfg.crop_pct, cfg.fit)
    good = scanned[scanned["problem"].isna()]
    pixels = view.pixels(good, store)
    extractor = (
        FeatureExtractor.load(source, view, machine, store) if uses_features(cfg, source) else None
    )
    if (
        extractor
    ):  # all of it now: loaders use random numbers, and a run must not depend on its cache
        seen = extractor.look(good, pixels, mirrored=cfg.epochs and cfg.warm_start)
    else:
        seen = np.array([pixels.there(path) for path in good["path"]])
    scanned = scan.without(scanned, good[~seen])
    good = good[seen]
    x = extractor.features(good, pixels) if extractor else None
    every = parted(cfg, scanned, x) if before is None else split.as_before(scanned, before, cfg)
    folding.say_folds(every, cfg.folds) if cfg.folds else split.say_split(every)
    extra = elsewhere.found(cfg, every)
    if extra:
        pixels = view.pixels(pd.concat([good, extra.every]), store)
    used, spec = in_use(cfg, source, view, every, extra)
    made = Prepared(cfg, machine, store, every, used, spec, pixels, extractor, extra)
    return made if cfg.folds else earning.judged(made)


def parted(cfg, scanned, x):
    "The table `scanned` with the sides or folds that `cfg` asks for."
    if cfg.folds:
        return folding.in_folds(scanned, cfg.folds, cfg.seed, x)
    return split.assign(scanned, cfg.valid_pct, cfg.seed, x)


def in_use(cfg, source, view, every, extra=None):
    "(table of the photos in use, ModelSpec of the model to be trained on them and on `extra`)."
    used = every[every["split"] != "unused"].reset_index(drop=True)
    return used, describe(cfg, source, view, used, extra.strange if extra else ())


def uses_features(cfg, source):
    "Whether the run uses features of a frozen backbone; random weights are of little use."
    return not cfg.epochs or (
        source.kind != "nothing" and (cfg.probe or cfg.warm_start or cfg.targets != "given")
    )


def describe(cfg, source, view, used, strange):
    "The ModelSpec of the model to be trained; `strange`: classes that only extra photos show."
    labels = used.loc[used["split"] == "train", "label"]
    shares = labels.value_counts(normalize=True)
    shares = shares.reindex(sorted({*shares.index, *strange}), fill_value=0.0)
    return bundle.ModelSpec(source.arch, cfg.head, list(shares.index), view, shares.tolist())
