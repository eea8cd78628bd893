"""Keep arrays under keys across runs, in checksummed segments on disk.

A segment is a file of numbers and an index beside it, each written under a hidden name, flushed to
disk and renamed, the index last. Nothing is changed once written, so two processes need no lock and
a kill at any moment loses only what was not yet in a segment. Numbers are memory-mapped: a shelf of
20 GB takes no memory. The index holds a checksum of each array; a segment with a wrong one is
removed.
"""

import math
import os
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.data.segments import INDEXES, data_of, in_segments, joined, remove, used_at, write
from vlg_fastai.runs.files import flush

STALE = 24 * 3600  # seconds after which a hidden or unindexed file counts as abandoned
KEY = 32  # characters of a key
INDEX = np.dtype(  # unused axes are 0
    [("key", f"S{KEY}"), ("start", "u8"), ("shape", "u4", (3,)), ("checksum", "u4")]
)
FORMAT = 2  # of segments; the earlier format had no checksums and is never opened


class Shelf:
    "Arrays (at most three axes, one dtype) under keys of 32 characters."

    def __init__(self, folder, store):
        self.folder, self.store, self.places = folder, store, {}
        self.refused = False  # True once a write has failed
        self.damaged = set()  # damaged segments, already removed
        if folder is not None and folder.is_dir():
            self._open()

    @property
    def used(self):
        "Segments that this process uses, on any shelf; they are never removed to make room."
        return self.store.used

    def __contains__(self, key):
        return key in self.places

    def __getitem__(self, key):
        "The array under `key`, read-only and memory-mapped; KeyError if missing or damaged."
        place = self.places[key]
        if not place.sound(key):
            self._remove_damaged(place.file)
            raise KeyError(key)
        return place.array

    def get(self, key):
        "The same, or None."
        try:
            return self[key]
        except KeyError:
            return None

    def __reduce__(self):
        "Pickle the folder, not the numbers: another process opens it itself."
        return type(self), (self.folder, self.store)

    def missing(self, keys, checked=True):
        """Return the `keys` not on the shelf, each once, in order; mark the others as used.

        checked: whether to compare checksums now rather than when each array is read.
        """
        keys = dict.fromkeys(keys)
        named = {self.places[key].file for key in keys if key in self} - {None}
        for data in named - self.used:
            self.used.add(data)
            with suppress(OSError):  # somebody else's cache: read, never written
                os.utime(data)
        for key in keys if checked else ():
            self.get(key)  # one damaged array removes its whole segment
        return [key for key in keys if key not in self]

    def rows(self, keys, part=slice(None)):
        "The arrays of `keys`, or the `part` of each, stacked into one."
        return np.stack([self[key][part] for key in keys])

    def fill(self, pairs):
        """Store every (key, array) of the iterator `pairs`, a segment at a time.

        Segments are written in a thread, so that making the arrays does not wait for the disk.
        """
        with ThreadPoolExecutor(1) as beside:
            written = beside.submit(self._write, {})
            for waiting in in_segments(pairs):
                written.result()  # at most one waits: memory stays flat
                written = beside.submit(self._write, waiting)
            written.result()
        if self.folder is not None:
            self.store.trim()

    def _write(self, arrays):
        if not arrays:
            return
        index = np.zeros(len(arrays), INDEX)
        lengths = [array.size for array in arrays.values()]
        index["key"], index["start"] = list(arrays), np.cumsum([0, *lengths[:-1]])
        for row, (key, array) in zip(index, arrays.items(), strict=True):
            row["shape"][: array.ndim] = array.shape
            row["checksum"] = checksum(key, array)
        self._place(index, self._kept(index, list(arrays.values())))

    def _kept(self, index, arrays):
        "Write a segment; return its numbers memory-mapped, or as they are if the write fails."
        if self.folder is None:
            return joined(arrays)
        name = self.folder / f"{uuid.uuid4().hex}.index.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, content in ((data_of(name), arrays), (name, [index])):
                hidden = path.with_name(f".{path.name}")
                write(hidden, content)
                flush(hidden)
                os.replace(hidden, path)
            self.used.add(data_of(name))
            return np.load(data_of(name), mmap_mode="r")
        except OSError as error:
            if not self.store.refused:  # one line a command, however many shelves it opens
                say(f"{self.folder}: cannot be written ({error.strerror}); continuing without it")
            self.refused = True
            self.store.refused.add(self.folder)
            for left in self.folder.glob(f".{name.name.split('.')[0]}*"):
                remove(left)
            return joined(arrays)

    def _open(self):
        for name in sorted(self.folder.glob(INDEXES)):
            try:
                self._place(np.load(name), np.load(data_of(name), mmap_mode="r"))
            except FileNotFoundError:  # another process removed it to make room
                continue
            except (OSError, ValueError, EOFError, KeyError, IndexError):
                self._remove_damaged(data_of(name))
        self._sweep()

    def _place(self, index, numbers):
        name = getattr(numbers, "filename", None)
        file = name and Path(name)  # one for all rows: 100,000 paths take 2 s
        for key, start, shape, told in index.tolist():
            if len(key) != KEY:
                raise ValueError(f"{key!r} is not a key")
            shape = tuple(n for n in shape if n)
            self.places[key.decode("ascii")] = Slot(numbers, start, shape, told, file)

    def _remove_damaged(self, data):
        "Forget the segment of `data` and remove it; its arrays are computed again."
        if data in self.damaged:
            return
        self.damaged.add(data)
        say(f"{data}: damaged; its contents are computed again")
        self.places = {key: place for key, place in self.places.items() if place.file != data}
        remove(data)

    def _sweep(self):
        "Remove what a killed writer left behind."
        indexed = {data_of(name) for name in self.folder.glob(INDEXES)}
        for path in list(self.folder.glob("*.npy")):
            orphan = path.name.startswith(".") or (
                path not in indexed and not path.name.endswith(".index.npy")
            )
            if orphan and time.time() - used_at(path) > STALE:
                remove(path)


@dataclass(frozen=True)
class Slot:
    "Location of an array: from `start` in `numbers`, which are those of `file` if there is one."

    numbers: np.ndarray
    start: int
    shape: tuple[int, ...]
    checksum: int
    file: Path | None

    @property
    def array(self):
        return self.numbers[self.start : self.start + math.prod(self.shape)].reshape(self.shape)

    def sound(self, key):
        "Whether the array is the one stored under `key`; one that never left memory always is."
        if self.file is None:
            return True
        if self.start + math.prod(self.shape) > len(self.numbers):
            return False
        return checksum(key, self.array) == self.checksum


def checksum(key, array):
    "CRC-32 of an array's key, shape and bytes: an index may be damaged as well."
    told = zlib.crc32(f"{key} {array.shape}".encode())
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8), told)
