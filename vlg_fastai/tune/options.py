"""The options of tune.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from vlg_fastai.limits import File, Folder, Limits, NewFile, NewFolder, Positive, Seed
from vlg_fastai.parts import Cache, Compute, Decided, Tabled


@dataclass(frozen=True)
class TuneConfig(Cache, Compute, Decided, Tabled):
    "Search the options of train.py for a dataset, and test whether they beat the defaults."

    # == Everyday ==
    data: Folder | None = None  # image folder; default: `data`, or a generated demo in `data/demo`
    out: NewFolder = Path("tune")  # output folder: study, best.json, trials.csv and the page
    trials: Positive = 30  # configurations to try, including the defaults
    # time limit in hours, the final check included; default: none
    hours: Annotated[float, Limits(0.001)] | None = None
    recipe: Literal["original", "strong"] = "strong"  # the defaults to beat
    fix: tuple[str, ...] = ()  # options to set instead of searching, such as wd=0.05 epochs=4
    # JSON file that narrows the search space: {"lr": [1e-4, 1e-3], "aug": ["basic", "strong"]}
    space: File | None = None
    dry_run: bool = False  # print the search space and exit

    # == Search ==
    folds: Annotated[int, Limits(2, 10)] = 3  # folds of the training side that score each trial
    sampler: Literal["tpe", "random", "gp"] = "tpe"  # Optuna sampler; gp suits up to 50 trials
    # run whose options to try right after the defaults
    from_run: Annotated[str | None, arg(name="from")] = None
    # journal file, which processes and machines may share; default: study.log in --out
    study: NewFile | None = None
    # database to share instead, such as postgresql://user@host/db or sqlite:///study.db
    storage: str | None = None
    # devices to search on in parallel, one process each, such as cuda:0,cuda:1
    devices: str | None = None
    seed: Seed = 42  # of the split, the folds and the sampler
    runs: NewFolder = Path("runs")  # folder of the run that --from names

    # == Net ==
    arch: str | None = None  # timm model; default: as train.py
    weights: File | None = None  # .safetensors or .pth file to start from instead of the hub's
    pretrained: bool = True  # start from pretrained weights; --no-pretrained: random ones
    # input size in pixels; default: as train.py
    size: Annotated[int, Limits(32, 2048)] | None = None
