"""The files of a shelf: a segment is a row of numbers, as np.save writes it, and its index."""

import time
from contextlib import suppress

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

MOST_BYTES, MOST_SECONDS = 64 * 2**20, 60.0  # of work held in memory for a segment
INDEXES = "[!.]*.index.npy"  # hidden ones are unfinished


def in_segments(pairs):
    "Yield {key: array} for each segment's worth of `pairs`, by size or by time."
    waiting, since, size = {}, time.monotonic(), 0
    for key, array in pairs:
        waiting[key] = array
        size += array.nbytes
        if size > MOST_BYTES or time.monotonic() - since > MOST_SECONDS:
            yield waiting
            waiting, since, size = {}, time.monotonic(), 0
    yield waiting


def joined(arrays):
    "All numbers of `arrays` in one row."
    return np.concatenate([array.ravel() for array in arrays])


def write(path, arrays):
    "Write the numbers of `arrays`, of one dtype, as np.save would write all of them in one row."
    count, kind = sum(array.size for array in arrays), dtype_to_descr(arrays[0].dtype)
    with open(path, "wb") as file:
        told = {"descr": kind, "fortran_order": False, "shape": (count,)}
        write_array_header_1_0(file, told)
        for array in arrays:  # joining them first would cost 0.3 ms a photo, a third of decoding
            file.write(np.ascontiguousarray(array).view(np.uint8))


def data_of(index):
    "The file of numbers that belongs to an index."
    return index.with_name(index.name.replace(".index.npy", ".npy"))


def size_of(path):
    "Bytes of a file; 0 if another process has removed it."
    with suppress(OSError):
        return path.stat().st_size
    return 0


def used_at(path):
    "When a file was last used; now, if another process has just renamed or removed it."
    with suppress(OSError):
        return path.stat().st_mtime
    return time.time()


def remove(data):
    "Remove a segment, its numbers first; if another process holds them open, all of it stays."
    with suppress(OSError):
        data.unlink(missing_ok=True)
        data.with_name(data.name.replace(".npy", ".index.npy")).unlink(missing_ok=True)
