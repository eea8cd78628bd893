"""Key and array in, the same array back in a later run: segments on disk, each array checked.

Arrays lie in segments: a file of numbers and an index beside it, each written under a hidden name,
flushed to the disk and renamed, the index last. Nothing written is ever changed, so two processes
need no lock and a kill at any moment costs what was not yet in a segment. Numbers are mapped into
memory: a shelf of 20 GB takes none. The index holds a checksum of each array; a segment in which
one does not hold is removed.
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
from vlg_fastai.runs.files import flush

MOST_BYTES, MOST_SECONDS = 64 * 2**20, 60.0  # of work that wait in memory for their segment
INDEXES = "[!.]*.index.npy"  # a hidden one is not finished
STALE = 24 * 3600  # seconds after which a hidden or unindexed file has lost its writer
KEY = 32  # characters of a key
INDEX = np.dtype(  # unused axes are 0
    [("key", f"S{KEY}"), ("start", "u8"), ("shape", "u4", (3,)), ("checksum", "u4")]
)
FORMAT = 2  # of segments; those of an earlier one had no checksums, and are never opened


class Shelf:
    "Arrays (at most three axes, one dtype) under keys of 32 characters."

    def __init__(self, folder, store):
        self.folder, self.store, self.places = folder, store, {}
        self.refused = False  # True once the disk said no
        self.damaged = set()  # segments that were removed
        if folder is not None and folder.is_dir():
            self._open()

    @property
    def used(self):
        "Segments that this process asked for, on whatever shelf: none makes room for another."
        return self.store.used

    def __contains__(self, key):
        return key in self.places

    def __getitem__(self, key):
        "The array kept under `key`, read-only and memory-mapped; KeyError where it is not sound."
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
        "Another process opens the folder itself; the numbers do not travel."
        return type(self), (self.folder, self.store)

    def missing(self, keys, checked=True):
        """Those of `keys` that are not here, each once, in their order; the others count as used.

        checked: whether to compare their checksums now, or not before each is asked for.
        """
        keys = dict.fromkeys(keys)
        named = {self.places[key].file for key in keys if key in self} - {None}
        for data in named - self.used:
            self.used.add(data)
            with suppress(OSError):  # a cache of somebody else's: read, never written
                os.utime(data)
        for key in keys if checked else ():
            self.get(key)  # one damaged array costs all of its segment
        return [key for key in keys if key not in self]

    def rows(self, keys, part=slice(None)):
        "The arrays of `keys`, or the `part` of each, as one, stacked."
        return np.stack([self[key][part] for key in keys])

    def fill(self, pairs):
        """Keep every (key, array) of the iterator `pairs`, a segment now and then.

        A segment is written beside: whoever makes the arrays does not wait for the disk.
        """
        with ThreadPoolExecutor(1) as beside:
            written = beside.submit(self._write, {})
            for waiting in segments(pairs):
                written.result()  # one waits at the most: memory stays flat
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
        numbers = np.concatenate([array.ravel() for array in arrays.values()])
        self._place(index, self._kept(index, numbers))

    def _kept(self, index, numbers):
        "Write a segment; its numbers as memory-mapped, or as they are where the disk refuses."
        if self.folder is None:
            return numbers
        name = self.folder / f"{uuid.uuid4().hex}.index.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, content in ((data_of(name), numbers), (name, index)):
                hidden = path.with_name(f".{path.name}")
                np.save(hidden, content)
                flush(hidden)
                os.replace(hidden, path)
            self.used.add(data_of(name))
            return np.load(data_of(name), mmap_mode="r")
        except OSError as error:
            if not self.refused:
                say(f"{self.folder}: cannot be written ({error.strerror}); going on without")
            self.refused = True
            for left in self.folder.glob(f".{name.name.split('.')[0]}*"):
                remove(left)
            return numbers

    def _open(self):
        for name in sorted(self.folder.glob(INDEXES)):
            try:
                self._place(np.load(name), np.load(data_of(name), mmap_mode="r"))
            except FileNotFoundError:  # another process made room
                continue
            except (OSError, ValueError, EOFError, KeyError, IndexError):
                self._remove_damaged(data_of(name))
        self._sweep()

    def _place(self, index, numbers):
        file = getattr(numbers, "filename", None)
        for row in index:
            shape = tuple(int(n) for n in row["shape"] if n)
            key = row["key"].decode("ascii")
            if len(key) != KEY:
                raise ValueError(f"{key!r} is no key")
            self.places[key] = Slot(
                numbers, int(row["start"]), shape, int(row["checksum"]), file and Path(file)
            )

    def _remove_damaged(self, data):
        "Forget the segment of `data` and remove it: what was in it is computed again."
        if data in self.damaged:
            return
        self.damaged.add(data)
        say(f"{data}: damaged; what was in it is computed again")
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


def segments(pairs):
    "Yield {key: array} of so many of `pairs` as make a segment, by size or by time."
    waiting, since, size = {}, time.monotonic(), 0
    for key, array in pairs:
        waiting[key] = array
        size += array.nbytes
        if size > MOST_BYTES or time.monotonic() - since > MOST_SECONDS:
            yield waiting
            waiting, since, size = {}, time.monotonic(), 0
    yield waiting


@dataclass(frozen=True)
class Slot:
    "Where an array lies: from `start` on in `numbers`, which are those of `file` if there is one."

    numbers: np.ndarray
    start: int
    shape: tuple[int, ...]
    checksum: int
    file: Path | None

    @property
    def array(self):
        return self.numbers[self.start : self.start + math.prod(self.shape)].reshape(self.shape)

    def sound(self, key):
        "Whether the array is the one that was kept under `key`; what never left memory is."
        if self.file is None:
            return True
        if self.start + math.prod(self.shape) > len(self.numbers):
            return False
        return checksum(key, self.array) == self.checksum


def checksum(key, array):
    "CRC-32 of an array's bytes, begun with its key and shape: an index may be damaged as well."
    told = zlib.crc32(f"{key} {array.shape}".encode())
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8), told)


def data_of(index):
    "The file of numbers that belongs to an index."
    return index.with_name(index.name.replace(".index.npy", ".npy"))


def size_of(path):
    "Bytes of a file; 0 once another process removed it."
    with suppress(OSError):
        return path.stat().st_size
    return 0


def used_at(path):
    "When a file was used last; now, where another process has just renamed or removed it."
    with suppress(OSError):
        return path.stat().st_mtime
    return time.time()


def remove(data):
    "Remove a segment, its numbers first; where another process holds them open, all of it stays."
    with suppress(OSError):
        data.unlink(missing_ok=True)
        data.with_name(data.name.replace(".npy", ".index.npy")).unlink(missing_ok=True)
