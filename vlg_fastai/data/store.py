"""Store expensive arrays under keys, so that later runs need not compute them again.

A shelf holds arrays of one kind: the features of one backbone, the pixels of one size.
"""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from vlg_fastai.console import say
from vlg_fastai.data.segments import INDEXES, data_of, remove, size_of, used_at
from vlg_fastai.data.shelf import FORMAT, Shelf
from vlg_fastai.data.walking import SHELF

GIGABYTE = 10**9


@dataclass(frozen=True)
class Store:
    "The folder of all shelves; without one, nothing outlives the process."

    folder: Path | None = None
    limit: float = 10 * GIGABYTE  # bytes; the least recently used goes first
    used: set = field(default_factory=set, compare=False)  # segments that this process uses
    refused: set = field(default_factory=set, compare=False)  # shelves that could not be written

    @classmethod
    def asked_for(cls, cfg):
        "The store that `--cache`, `--cache-gb` and `--clear-cache` ask for."
        if cfg.cache == "off":
            return cls()
        # absolute, like the names of memory-mapped files: comparing paths tells what is in use
        folder = Path(os.path.abspath(cfg.cache or user_cache_path("vlg_fastai")))
        store = cls(folder, cfg.cache_gb * GIGABYTE)
        if cfg.clear_cache:
            store.clear()
        return store

    def shelf(self, kind, *facts):
        "The shelf for `kind` and `facts` (anything with a complete repr)."
        if self.folder is None:
            return Shelf(None, self)
        told = hashlib.blake2b(repr((FORMAT, *facts)).encode(), digest_size=8).hexdigest()
        return Shelf(self.folder / f"{kind}-{told}", self)

    def clear(self):
        "Remove every shelf; other files in the folder are not ours and stay."
        size = sum(map(size_of, self._segments()))
        for folder in {data.parent for data in self._segments()}:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"{self.folder}: emptied, {size / GIGABYTE:.2f} GB")

    def trim(self):
        "Remove the least recently used segments until the rest fits; those in use stay."
        found = sorted((used_at(data), data) for data in self._segments())
        size = sum(size_of(data) for _, data in found)
        for _, data in found:
            if size > self.limit and data not in self.used:
                size -= size_of(data)
                remove(data)

    def room(self):
        "Bytes that may be added: up to the limit, and no more than half the free disk space."
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free / 2
        except OSError:
            return 0
        return min(self.limit - sum(map(size_of, self.used)), free)

    def _segments(self):
        indexes = self.folder.glob(f"*-*/{INDEXES}")
        found = (data_of(index) for index in indexes if re.fullmatch(SHELF, index.parent.name))
        return [data for data in found if data.exists()]
