"""Compute and cache what a frozen backbone makes of photos: features and its own logits."""

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from vlg_fastai.console import track
from vlg_fastai.data import loaders
from vlg_fastai.data.store import Store
from vlg_fastai.data.view import View
from vlg_fastai.machine.device import Machine
from vlg_fastai.machine.precision import autocast
from vlg_fastai.machine.transfer import Coming, one_behind
from vlg_fastai.model import backbone
from vlg_fastai.model.batchnorm import foldable, folded

BATCH = 64  # photos per forward pass at 224 px
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FeatureExtractor:
    """A backbone with its pretrained weights and own classifier, and its cached output on photos:
    one float16 row per photo, under the hash of the file's content."""

    net: torch.nn.Module
    view: View
    machine: Machine
    store: Store

    @classmethod
    def load(cls, source, view, machine, store):
        net = backbone.trained(source, view.size).eval()
        net.to(machine.device, memory_format=machine.memory_format)
        return cls(net, view, machine, store)

    @property
    def width(self):
        return self.net.head_hidden_size

    @cached_property
    def backbone(self):
        "A Backbone of its own with these weights: the net without its classifier."
        net = deepcopy(self.net)
        net.reset_classifier(0)
        return backbone.Backbone(net)

    @cached_property
    def fast(self):
        "The net as it is run: its weights differ from `net`'s where BatchNorm is folded."
        return folded(self.net, self.machine)

    @cached_property
    def mark(self):
        "Hash that identifies its weights."
        told = hashlib.blake2b(digest_size=8)
        for name, tensor in self.net.state_dict().items():
            told.update(name.encode())
            told.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return told.hexdigest()

    @cached_property
    def shelves(self):
        "Cached rows of the photos as they are, and of their mirror images."
        facts = [self.mark, self.view, self.machine.precision]
        facts += ["folded"] * foldable(self.net, self.machine)  # rounded in another way
        return [self.store.shelf("features", *facts, flip) for flip in (False, True)]

    def look(self, photos, pixels=None, mirrored=False):
        """Compute the rows of the table `photos` (path, content) that are not on the shelf yet.

        Returns (n,) True where a row exists now: a photo that can no longer be read has none.
        """
        seen = np.ones(len(photos), bool)
        for shelf, flip in zip(self.shelves, range(1 + bool(mirrored)), strict=False):
            missing = shelf.missing(photos["content"])
            if missing:
                paths = photos.drop_duplicates("content").set_index("content")["path"][missing]
                shelf.fill(self._computed(paths, pixels, flip))
            seen &= np.array([content in shelf for content in photos["content"]], bool)
        return seen

    def lost(self, photos):
        "How many of the table `photos` (path, content) are neither on the shelf nor on disk."
        absent = set(self.shelves[0].missing(photos["content"]))
        pairs = zip(photos["path"], photos["content"], strict=True)
        return sum(content in absent and not path.is_file() for path, content in pairs)

    def features(self, photos, pixels=None, flip=False):
        """(n, width) float16: pooled, normed pre-logits of the table `photos`, or of mirror images.

        KeyError for a photo that `look` reported to have none.
        """
        if photos.empty:
            return np.zeros((0, self.width), np.float16)
        self.look(photos, pixels, mirrored=flip)
        return self.shelves[flip].rows(photos["content"], slice(self.width))

    def of_copies(self, photos, pixels):
        """(n, width) float16 of the table `photos` as `pixels` shows them; not cached.

        A photo that can no longer be read gets the features of its unmodified version.
        """
        rows = self.features(photos)
        places = photos["path"].reset_index(drop=True)
        for place, row in self._computed(places, pixels, False):
            rows[place] = row[: self.width]
        return rows

    def own_logits(self, photos, pixels=None):
        "(n, classes of the backbone's own classifier) float32; no columns if it has none."
        self.look(photos, pixels)
        return self.shelves[0].rows(photos["content"], slice(self.width, None)).astype(np.float32)

    def _computed(self, paths, pixels, flip):
        "Yield (content, row) for each of `paths` (a Series by content) that can be read."
        bs = max(1, min(BATCH, round(BATCH * (224 / self.view.size) ** 2)))
        dl = loaders.plain(paths, self.view, bs, self.machine, pixels)
        what = "features of mirrored photos" if flip else "features"
        launched = (self._launched(x, places, flip) for x, places in track(dl, what, len(dl)))
        for x, rows, places in one_behind(launched):
            for content, row in zip(paths.index[places], self._rows(x, rows.here), strict=True):
                if np.isfinite(row).all():
                    yield content, row

    def _launched(self, x, places, flip):
        "(photos `x` as the net takes them, its output on its way to main memory, places)."
        x = x.flip(-1) if flip else x
        with torch.inference_mode(), autocast(self.machine):  # the consumer must not run in these
            return x, Coming(self._forward(x)), places.cpu().numpy()

    def _rows(self, x, rows):
        if not torch.isfinite(rows).all():  # fp16 ends at 65,504; some nets exceed it inside
            with torch.inference_mode():
                rows = self._forward(x).cpu()
        return rows.clamp(-LARGEST, LARGEST).numpy().astype(np.float16)

    def _forward(self, x):
        maps = self.fast.forward_features(x)
        made = [self.fast.forward_head(maps, pre_logits=True).flatten(1)]
        if self.fast.num_classes:
            made.append(self.fast.forward_head(maps))
        return torch.cat([part.float() for part in made], 1)
