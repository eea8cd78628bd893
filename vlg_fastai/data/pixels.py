"""Decode photo files to upright RGB pixels, once and no larger than a view needs."""

from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import numpy as np
from PIL import Image

from vlg_fastai.console import say, track
from vlg_fastai.data.images import BrokenImageError, problem, quiet_decoders, read_image
from vlg_fastai.data.store import GIGABYTE
from vlg_fastai.machine.device import cpus

LARGEST = 4 * 2**20  # bytes; a larger photo (a long sliver) is read from its file each time
AHEAD = 64  # photos decoded ahead of their turn: enough for all cores, little memory


class Pixels:
    """Photos of a table as PIL images whose short side is `side` pixels, or less if the photo is.

    Called with a path of the table, it looks on the shelf first, then reads the file; a file that
    changed since the scan raises BrokenImageError.
    """

    def __init__(self, side, resample, keys=None, shelf=None):
        self.side, self.resample = side, resample
        self.keys, self.shelf = keys or {}, shelf

    @classmethod
    def of(cls, photos, side, resample, store, now=True):
        """Pixels of the table `photos` (columns path, content).

        now: decode those missing from the shelf now; else each is read when it is needed.
        """
        if photos is None:
            return cls(side, resample)
        keys = dict(zip(photos["path"], photos["content"], strict=True))
        if store is None or store.folder is None:
            return cls(side, resample, keys)
        made = cls(side, resample, keys, store.shelf("pixels", side, int(resample)))
        if now:
            made._decode(store, photos)
        return made

    def __call__(self, path):
        kept = None if self.shelf is None else self.shelf.get(self.keys.get(path))
        if kept is not None:
            return Image.fromarray(kept)
        with quiet_decoders():
            return self.read(path)

    def problem(self, path):
        "Why the photo at `path` cannot be shown, or None."
        return None if self._kept(path) else problem(path, self.keys.get(path))

    def there(self, path):
        "Whether it is on the shelf or its file exists: cheaper than `problem`, and less thorough."
        return self._kept(path) or path.is_file()

    def _kept(self, path):
        return self.shelf is not None and self.keys.get(path) in self.shelf

    def read(self, path):
        "Decode the file, large JPEGs no larger than needed, and resize its short side to `side`."
        image = read_image(path, self.side, self.keys.get(path))
        short = min(image.size)
        if short <= self.side:
            return image
        size = [max(1, round(length * self.side / short)) for length in image.size]
        return image.resize(size, self.resample, reducing_gap=3.0)

    def _decode(self, store, photos):
        path_of = {key: path for path, key in self.keys.items()}
        missing = self.shelf.missing(photos["content"], checked=False)
        if not missing:
            return
        needed = len(missing) * self.side**2 * 3 * 4 / 3  # most photos are 4:3
        if needed > store.room():
            say(
                f"the pixels of {len(missing)} photos would take {needed / GIGABYTE:.1f} GB, more"
                " than --cache-gb or the disk allows; photos are decoded each time"
            )
            return
        with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:
            decoded = ahead(pool, lambda key: self._array(path_of[key]), missing)
            told = track(zip(missing, decoded, strict=True), "decoding", len(missing))
            fitting = (pair for pair in told if pair[1] is not None and pair[1].nbytes <= LARGEST)
            self.shelf.fill(takewhile(lambda _: not self.shelf.refused, fitting))

    def _array(self, path):
        "The pixels of the file, or None; the reason is reported when the photo is requested."
        try:
            return np.asarray(self.read(path))
        except BrokenImageError:
            return None


def ahead(pool, function, items):
    "`pool.map` with at most `AHEAD` results waiting: 100,000 photos do not fit in memory."
    waiting = []
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > AHEAD:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
