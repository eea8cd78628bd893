"""Keep decoded photos on the GPU, and cut the squares of a batch from them there."""

import random

import numpy as np
import torch
from fastai.torch_core import TensorCategory, TensorImage
from fastcore.basics import chunked

from vlg_fastai.console import counted, say
from vlg_fastai.data.images import BrokenImageError
from vlg_fastai.data.pixels import LARGEST
from vlg_fastai.data.store import GIGABYTE

SHARE = 0.3  # of a GPU's free memory; the rest is for the net, its gradients and activations


class Frames:
    "Photos of any shape as bytes in one flat tensor on a device."

    def __init__(self, shapes, device):
        "shapes: (n, 2) height and width of each photo, in pixels."
        lengths = 3 * shapes.prod(1)
        self.shapes, self.ends = shapes, np.cumsum(lengths)
        self.flat = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=device)
        self.starts = torch.as_tensor(self.ends - lengths, device=device)
        self.widths = torch.as_tensor(shapes[:, 1], device=device)

    def put(self, number, photo):
        "Copy the pixels of `photo` (PIL) to its place."
        bits = torch.from_numpy(np.array(photo).reshape(-1))
        self.flat[self.ends[number] - len(bits) : self.ends[number]].copy_(bits)

    def cut(self, numbers, tops, lefts, size):
        "(n, 3, size, size) uint8, channels last: a square of each photo, by its corner."
        ahead = torch.arange(size, device=self.flat.device)
        down = (tops[:, None] + ahead)[:, :, None] * self.widths[numbers][:, None, None]
        pixel = down + (lefts[:, None] + ahead)[:, None, :]
        first = self.starts[numbers][:, None, None] + 3 * pixel
        return self.flat[first[..., None] + ahead[:3]].permute(0, 3, 1, 2)


class Resident:
    """The photos of one side of a split as a loader needs them: batches of (squares, labels, ...).

    frames: photos; numbers: (items,) which of them each item is; told: tensors (items,) on the
    device, labels first; fit: the crop, which draws from an item's seed as it does elsewhere.
    """

    def __init__(self, frames, numbers, told, fit):
        self.frames, self.numbers, self.told, self.fit = frames, numbers, told, fit

    def batches(self, order, bs, drop_last, training):
        "Yield the batches of `order`, [(seed, item)]."
        for part in chunked(order, bs, drop_last):
            yield self._batch(part, training)

    def _batch(self, part, training):
        corners = [self._corner(*one, training) for one in part]
        items = [item for _, item in part]
        told = torch.tensor([items, self.numbers[items].tolist(), *zip(*corners, strict=True)])
        device = self.frames.flat.device
        told = told.pin_memory() if device.type == "cuda" else told
        items, numbers, lefts, tops = told.to(device, non_blocking=True)
        x = self.frames.cut(numbers, tops, lefts, self.fit.size)
        label, *more = (one[items] for one in self.told)
        return TensorImage(x), TensorCategory(label), *more

    def _corner(self, seed, item, training):
        drawn = random.Random(seed)
        self.fit.at = (drawn.random(), drawn.random()) if training else (0.5, 0.5)
        height, width = self.frames.shapes[self.numbers[item]].tolist()
        return self.fit.corner(width, height) if self.fit.how == "crop" else (0, 0)


def keep_photos(dls, pixels, fit, device, free):
    """Keep the photos of `dls` on `device` if they take no more than `SHARE` of its `free` bytes.

    Each is kept once, at the scale at which `fit` cuts its square. Returns whether it was done; not
    if a photo cannot be read or is a long sliver: processes that read do those justice.
    """
    sides = [dl.dataset.items for dl in dls]
    paths = list(dict.fromkeys(path for items in sides for path in items["path"]))
    try:
        shapes = np.array([fit.frame_of(pixels(path).size)[::-1] for path in paths], np.int64)
        sizes = 3 * shapes.prod(1)
        if sizes.sum() > SHARE * free or sizes.max() > LARGEST:
            return False
        frames = Frames(shapes, device)
        for number, path in enumerate(paths):
            frames.put(number, fit.framed(pixels(path)))
    except BrokenImageError:
        return False
    say(f"kept on {device}: {counted(len(paths))}, {sizes.sum() / GIGABYTE:.2f} GB")
    number_of = {path: number for number, path in enumerate(paths)}
    for dl, items in zip(dls, sides, strict=True):
        dl.resident = Resident(
            frames, items["path"].map(number_of).to_numpy(), _told(dl, device), fit
        )
    return True


def _told(dl, device):
    "[labels of the items of `dl`, and whatever else its batches carry] as tensors on `device`."
    lists = [[int(one) for one in made] for made in dl.dataset.tls[1:]]
    return [torch.tensor(values, device=device) for values in lists]
