"""Options that several commands share, and the error for mistakes that a user can fix."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlg_fastai.limits import Amount, Count, File, Folder, NewFile, NewFolder, Share


class UserError(Exception):
    "A mistake the user can fix: one line that names option, value and what to do; exit 2."


@dataclass(frozen=True)
class Place:
    "Where runs are stored."

    # == Folders ==
    runs: NewFolder = Path("runs")  # folder of run folders


@dataclass(frozen=True)
class Chosen(Place):
    "Which runs to work with, and where their photos are now."

    # == Runs ==
    # runs by name, number or path; predict blends them, interpret handles each in turn; default:
    # the newest finished one
    run: tuple[str, ...] = ()
    data: Folder | None = None  # image folder; default: the run's own


@dataclass(frozen=True)
class Decided:
    "Manual decisions about labels and photos."

    # == Decisions ==
    # decisions file; default: decisions.csv in the data folder, or here if that is read-only
    decisions: NewFile | None = None


@dataclass(frozen=True)
class Compute:
    "Where to compute."

    # == Machine ==
    device: str = "auto"  # auto, cpu, cuda, cuda:1 or mps; auto: a GPU where there is one
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: the device's native one
    workers: Count | None = None  # processes that read photos; default: fits the machine
    # the same seed gives the same result on a GPU too, more slowly; on a CPU it always does
    deterministic: bool = False


@dataclass(frozen=True)
class Cache:
    "Cache of decoded photos, and of features and scores computed from them."

    # == Cache ==
    # folder for decoded photos, features, scores; default: the user's cache folder; off: none
    cache: Literal["off"] | NewFolder | None = None
    cache_gb: Amount = 10.0  # cache limit in GB; the least recently used entries go first
    clear_cache: bool = False  # empty the cache first


@dataclass(frozen=True)
class Elsewhere:
    "Photos beside the labelled ones to learn from."

    # == Photos from elsewhere ==
    # folders of photos for the training side alone, DIR/<class>/*, classes without a training photo
    # included; judged on the labelled photos, and left out where they do not help
    extra: tuple[Folder, ...] = ()
    # learn from up to this share of the test photos too: the surest ones, if nine of ten should be
    # right and labelled photos gain from it
    pseudo: Share = 0.0


@dataclass(frozen=True)
class Tabled:
    "Labels in a table instead of folder names."

    # == Labels in a table ==
    # CSV with a row per photo; default: class folders, or the data folder's table if it has none
    labels: File | None = None
    photos: Folder | None = None  # folder of the table's photos; default: found beside it
    id_col: str | None = None  # the table's column of photo ids; default: detected
    label_col: str | None = None  # the table's column of labels; default: detected
    # the table's column of groups to keep on one side of every split: patient, camera, site
    group_col: str | None = None
