"""Options that several commands share, and the error that a user can mend."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlg_fastai.limits import Amount, Count, File, Folder, NewFile, NewFolder


class UserError(Exception):
    "A mistake the user can fix: one line that names option, value and what to do; exit 2."


@dataclass(frozen=True)
class Place:
    "Where runs lie."

    runs: NewFolder = Path("runs")  # folder that holds the run folders


@dataclass(frozen=True)
class Chosen(Place):
    "Which runs to work with, and where their photos are now."

    # runs by name, number or path: predict blends them, interpret takes each in turn; absent:
    # the newest finished
    run: tuple[str, ...] = ()
    data: Folder | None = None  # image folder; absent: the run's own


@dataclass(frozen=True)
class Decided:
    "What a person decided about labels and photos."

    # file of decisions; absent: decisions.csv in the data folder, or here where that is read-only
    decisions: NewFile | None = None


@dataclass(frozen=True)
class Compute:
    "What to compute on."

    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps; auto takes a GPU only where it works
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: the device's native one
    workers: Count | None = None  # processes that read photos; absent: as many as fit the machine


@dataclass(frozen=True)
class Cache:
    "Decoded photos and features of frozen backbones, kept for later runs."

    # folder of decoded photos and features; absent: the user's cache folder; off: none is kept
    cache: Literal["off"] | NewFolder | None = None
    cache_gb: Amount = 10.0  # its most; what was used longest ago goes first
    clear_cache: bool = False  # empty it first


@dataclass(frozen=True)
class Tabled:
    "Labels that stand in a table instead of in the names of folders."

    # CSV with a row a photo; absent: class folders, or the table of a data folder without these
    labels: File | None = None
    photos: Folder | None = None  # folder of its photos; absent: found beside the table
    id_col: str | None = None  # its column that says which photo a row is of; absent: guessed
    label_col: str | None = None  # its column of labels; absent: guessed
    # its column of what must stay together, such as a patient, a camera or a site
    group_col: str | None = None
