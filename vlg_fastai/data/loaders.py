"""Build fastai DataLoaders from a table of photos."""

import signal
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import numpy as np
import torch
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.load import SkipItemException
from fastai.data.transforms import ColReader, IndexSplitter, IntToFloatTensor
from fastai.vision.core import PILImage
from fastcore.basics import chunked
from fasttransform import Transform

from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.console import say
from vlg_fastai.data.augment import AUGMENTATIONS, BY_PHOTO, MIN_SCALE
from vlg_fastai.data.images import BrokenImageError, quiet_decoders
from vlg_fastai.data.order import Placed, Plain, WeightedPlaced
from vlg_fastai.data.resident import keep_photos
from vlg_fastai.data.shares import draws, length
from vlg_fastai.data.split import oversampled
from vlg_fastai.machine.transfer import free_bytes

ASKING = ("SIGINT", "SIGTERM", "SIGHUP")  # signals that ask to stop; Windows lacks the last
GRACE = 10  # seconds


class ReadPhoto(Transform):
    "Read a path as an upright RGB PILImage; skip a photo removed or changed since the scan."

    def __init__(self, pixels):
        super().__init__()
        self.pixels, self.told = pixels, set()

    def encodes(self, path: Path):
        return PILImage(self.read(path))

    def read(self, path):
        "The photo; SkipItemException if it cannot be read, which is reported once."
        try:
            return self.pixels(path)
        except BrokenImageError as error:
            if path not in self.told:
                self.told.add(path)
                say(f"{path}: {error}: left out")
            raise SkipItemException from error


class Squares:
    """`paths` by place, as (square of the photo (size, size, 3) uint8, place).

    fastai's transforms, one call per photo and step, take 0.3 ms more a photo: as long as resizing
    it does.
    """

    def __init__(self, paths, view, pixels):
        self.paths, self.view = paths, view
        self.read, self.fit = ReadPhoto(pixels).read, view.fit()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, place):
        return np.asarray(self.fit.cut(self.read(self.paths[place]))), place


class InOrder(Plain):
    """Batches of (photos, places) of `Squares`, without those that cannot be read; places stay in
    main memory.

    Without processes that read, threads do: nothing here draws random numbers, whose order would
    depend on them.
    """

    memory_format = torch.channels_last

    def create_batches(self, order):
        read = map(self._side_by_side, chunked(order, self.bs))
        return (self.do_batch(items) for items in read if items)

    def _side_by_side(self, places):
        "The items at `places` that can be read, by as many threads as torch uses in this process."
        with quiet_decoders(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            contexts = [copy_context() for _ in places]  # what is muted here is muted there
            items = pool.map(
                lambda context, place: context.run(self.do_item, place), contexts, places
            )
            return [item for item in items if item is not None]

    def do_batch(self, items):
        photos, places = zip(*items, strict=True)
        return torch.from_numpy(np.stack(photos)), torch.tensor(places)

    def moved(self, batch):
        photos, places = batch
        x = self.dataset.view.normalized(*super().moved((photos,)))
        return x.contiguous(memory_format=self.memory_format), places


def _options(bs, machine):
    return {
        "bs": bs,
        "num_workers": machine.workers,
        "device": machine.device,
        "pin_memory": machine.device.type == "cuda",
        "wif": leave_signals_alone,
    }


def build(table, classes, view, pixels, machine, cfg):
    """DataLoaders over `table` (columns path, label, split); only the training side is balanced.

    A batch is (photos, labels), or (photos, labels, rows of `table`) if targets are not labels.
    """
    table = table.assign(row=np.arange(len(table)))  # set before oversampling and sorting
    table = oversampled(table) if cfg.oversample else table
    table = table.sort_values("split", kind="stable", ignore_index=True)
    by_photo = [BY_PHOTO[cfg.aug]] if cfg.aug in BY_PHOTO else []
    told = cfg.targets != "given"  # add each photo's row, to look up its target
    taught = table[table["split"] == "train"]
    count = length(taught).get("n", len(taught))
    options = _options(_at_most(count, per_step(cfg.bs), machine.ranks.count), machine)
    given = pixels, view, machine
    block = DataBlock(
        blocks=(
            TransformBlock(type_tfms=ReadPhoto(pixels), batch_tfms=IntToFloatTensor),
            CategoryBlock(vocab=classes, sort=False),
            *([TransformBlock()] if told else []),
        ),
        n_inp=1,
        get_x=ColReader("path"),
        get_y=[ColReader("label"), ColReader("row")] if told else ColReader("label"),
        splitter=lambda rows: IndexSplitter(np.flatnonzero(rows["split"] == "valid"))(rows),
        item_tfms=[view.fit(MIN_SCALE.get(cfg.aug)), *(kind() for kind in by_photo)],
        batch_tfms=[*AUGMENTATIONS[cfg.aug](), view.normalize()],
    )
    return _settled(block.dataloaders(table, **_order(table, cfg), **options), table, cfg, given)


def _settled(dls, table, cfg, given):
    "`dls` with their photos on a GPU where they fit, and with weights for the last epochs."
    pixels, view, machine = given
    if cfg.aug not in {*MIN_SCALE, *BY_PHOTO} and (free := free_bytes(machine.device)):
        keep_photos(dls, pixels, view.fit(), machine.device, free)
    if "extra" in table:
        taught = (table["split"] != "valid").to_numpy()
        dls.train.first, dls.train.later = dls.train.wgts, draws(table, cfg, extras=False)[taught]
    return dls


def _order(table, cfg):
    "How fastai makes loaders that sample by weight, or in random order."
    if "extra" not in table and (not cfg.weighted or cfg.oversample):
        return {"dl_type": Placed}
    taught = (table["split"] != "valid").to_numpy()
    by_side = [{"wgts": draws(table, cfg)[taught], **length(table[taught])}, {}]
    return {"dl_type": WeightedPlaced, "dl_kwargs": by_side}


def per_step(bs):
    "Photos per step that --bs asks for; auto leaves their number, only not how many at a time."
    return TrainConfig.bs if bs == "auto" else bs


def _at_most(photos, bs, processes=1):
    "`bs`, or as many of the `photos` as several processes can share evenly."
    if photos >= bs:
        return int(bs)
    most = int(photos) // processes * processes
    if processes > 1 and most < 2 * processes:  # batch norm cannot train on a single photo
        raise UserError(f"--nproc_per_node: {processes} processes cannot share {photos} training"
                        " photos; start fewer")  # fmt: skip
    say(f"--bs {bs} exceeds the {photos} training photos: lowered to {most}")
    return most


def plain(paths, view, bs, machine, pixels=None):
    """Batches of `paths` in their order, unlabelled and without augmentation.

    A batch is (photos, their places (n,) in `paths`); photos that cannot be read are in none.
    """
    photos = Squares(list(paths), view, pixels or view.pixels())
    dl = InOrder(photos, shuffle=False, **_options(bs, machine))
    dl.memory_format = machine.memory_format
    return dl


def leave_signals_alone():
    """Keep reader processes alive on signals to stop, which a terminal or scheduler sends to the
    whole group, until the training process finishes its batch; they exit after `GRACE` seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ASKING[1:]:
        if hasattr(signal, name) and hasattr(signal, "alarm"):
            signal.signal(getattr(signal, name), lambda *_: signal.alarm(GRACE))
