"""Key and array in, the same array back in a later run: what is expensive is computed once.

A shelf holds arrays of one kind (the features of one backbone, the pixels of one size) in segments:
a file of numbers and an index beside it, each written under a hidden name and renamed, the index
last. Nothing written is ever changed, so two processes need no lock and a kill at any moment costs
what was not yet in a segment. Numbers are memory-mapped: a shelf of 20 GB takes no memory.
"""

import hashlib
import os
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from vlg_fastai.console import say

GIGABYTE = 10**9
MOST_BYTES, MOST_SECONDS = 64 * 2**20, 60.0  # of work that wait in memory for their segment
INDEXES = "[!.]*.index.npy"  # a hidden one is not finished
STALE = 24 * 3600  # seconds after which a hidden or unindexed file has lost its writer
INDEX = np.dtype([("key", "S32"), ("start", "u8"), ("shape", "u4", (3,))])  # unused axes are 0


@dataclass(frozen=True)
class Store:
    "The folder of all shelves; without one nothing outlives the process."

    folder: Path | None = None
    limit: float = 10 * GIGABYTE  # bytes; what was used longest ago goes first

    @classmethod
    def of(cls, cfg):
        "The store that `--cache`, `--cache-gb` and `--clear-cache` ask for."
        if cfg.cache == "off":
            return cls()
        # absolute, as memory-mapped files are named: what is in use is told by comparing paths
        folder = Path(os.path.abspath(cfg.cache or user_cache_path("vlg_fastai")))
        store = cls(folder, cfg.cache_gb * GIGABYTE)
        if cfg.clear_cache:
            store.clear()
        return store

    def shelf(self, kind, *facts):
        "The shelf of what `kind` and `facts` (anything with a repr that tells all) describe."
        if self.folder is None:
            return Shelf(None, self)
        told = hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
        return Shelf(self.folder / f"{kind}-{told}", self)

    def clear(self):
        "Remove every shelf; other files in the folder are not ours and stay."
        size = sum(map(_size, self._segments()))
        for folder in {data.parent for data in self._segments()}:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"{self.folder}: emptied, {size / GIGABYTE:.2f} GB")

    def trim(self, used):
        "Remove the segments used longest ago until the rest fits; those in the set `used` stay."
        found = sorted((_when(data), data) for data in self._segments())
        size = sum(_size(data) for _, data in found)
        for _, data in found:
            if size > self.limit and data not in used:
                size -= _size(data)
                _remove(data)

    def room(self, shelf):
        "Bytes that may be added to `shelf`: below the limit, and no more than half the free disk."
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free / 2
        except OSError:
            return 0
        return min(self.limit - sum(map(_size, shelf.used)), free)

    def _segments(self):
        found = (_data(index) for index in self.folder.glob(f"*-*/{INDEXES}"))
        return [data for data in found if data.exists()]


class Shelf:
    "Arrays (at most three axes, one dtype) under keys of 32 characters."

    def __init__(self, folder, store):
        self.folder, self.store, self.places = folder, store, {}
        self.used, self.refused = set(), False  # segments asked for; True once the disk said no
        if folder is not None and folder.is_dir():
            self._open()

    def __contains__(self, key):
        return key in self.places

    def __getitem__(self, key):
        "The array kept under `key`, read-only and memory-mapped."
        numbers, start, shape = self.places[key]
        return numbers[start : start + int(np.prod(shape))].reshape(shape)

    def __reduce__(self):
        "Another process opens the folder itself; the numbers do not travel."
        return type(self), (self.folder, self.store)

    def missing(self, keys):
        "Those of `keys` that are not here, each once, in their order; the others count as used."
        keys = dict.fromkeys(keys)
        named = (getattr(self.places[key][0], "filename", None) for key in keys if key in self)
        for data in set(map(Path, filter(None, named))) - self.used:
            self.used.add(data)
            with suppress(OSError):  # a cache of somebody else's: read, never written
                os.utime(data)
        return [key for key in keys if key not in self]

    def rows(self, keys, part=slice(None)):
        "The arrays of `keys`, or the `part` of each, as one, stacked."
        return np.stack([self[key][part] for key in keys])

    def fill(self, pairs):
        "Keep every (key, array) of the iterator `pairs`, a segment now and then."
        waiting, since, size = {}, time.monotonic(), 0
        for key, array in pairs:
            waiting[key] = array
            size += array.nbytes
            if size > MOST_BYTES or time.monotonic() - since > MOST_SECONDS:
                self._write(waiting)
                waiting, since, size = {}, time.monotonic(), 0
        self._write(waiting)
        if self.folder is not None:
            self.store.trim(self.used)

    def _write(self, arrays):
        if not arrays:
            return
        index = np.zeros(len(arrays), INDEX)
        lengths = [array.size for array in arrays.values()]
        index["key"], index["start"] = list(arrays), np.cumsum([0, *lengths[:-1]])
        for row, array in zip(index, arrays.values(), strict=True):
            row["shape"][: array.ndim] = array.shape
        numbers = np.concatenate([array.ravel() for array in arrays.values()])
        self._place(index, self._kept(index, numbers))

    def _kept(self, index, numbers):
        "Write a segment; its numbers as memory-mapped, or as they are where the disk refuses."
        if self.folder is None:
            return numbers
        name = self.folder / f"{uuid.uuid4().hex}.index.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, content in ((_data(name), numbers), (name, index)):
                hidden = path.with_name(f".{path.name}")
                np.save(hidden, content)
                os.replace(hidden, path)
            self.used.add(_data(name))
            return np.load(_data(name), mmap_mode="r")
        except OSError as error:
            if not self.refused:
                say(f"{self.folder}: cannot be written ({error.strerror}); going on without")
            self.refused = True
            for left in self.folder.glob(f".{name.name.split('.')[0]}*"):
                _remove(left)
            return numbers

    def _open(self):
        for name in sorted(self.folder.glob(INDEXES)):
            try:
                self._place(np.load(name), np.load(_data(name), mmap_mode="r"))
            except (OSError, ValueError, EOFError):  # another process made room, or the disk failed
                continue
        self._sweep()

    def _place(self, index, numbers):
        ends = index["start"] + np.maximum(index["shape"], 1).prod(axis=1, dtype="u8")
        for row in index[ends <= len(numbers)]:
            shape = tuple(int(n) for n in row["shape"] if n)
            self.places[row["key"].decode()] = (numbers, int(row["start"]), shape)

    def _sweep(self):
        "Remove what a killed writer left behind."
        indexed = {_data(name) for name in self.folder.glob(INDEXES)}
        for path in list(self.folder.glob("*.npy")):
            orphan = path.name.startswith(".") or (
                path not in indexed and not path.name.endswith(".index.npy")
            )
            if orphan and time.time() - _when(path) > STALE:
                _remove(path)


def _data(index):
    "The file of numbers that belongs to an index."
    return index.with_name(index.name.replace(".index.npy", ".npy"))


def _size(path):
    "Bytes of a file; 0 once another process removed it."
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _when(path):
    "When a file was used last; now, where another process has just renamed or removed it."
    with suppress(OSError):
        return path.stat().st_mtime
    return time.time()


def _remove(data):
    "Remove a segment, its numbers first; where another process holds them open, all of it stays."
    with suppress(OSError):
        data.unlink(missing_ok=True)
        data.with_name(data.name.replace(".npy", ".index.npy")).unlink(missing_ok=True)
