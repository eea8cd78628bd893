"""The options of tune.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from vlg_fastai.limits import File, Folder, Limits, NewFile, NewFolder, Positive, Seed
from vlg_fastai.parts import Cache, Compute, Decided, Tabled


@dataclass(frozen=True)
class TuneConfig(Cache, Compute, Decided, Tabled):
    "Search the options of train.py that suit a folder, and say whether they beat its defaults."

    data: Folder | None = None  # image folder; absent: `data`, or a drawn challenge in `data/demo`
    out: NewFolder = Path("tune")  # folder for the study, best.json, trials.csv and the page
    trials: Positive = 30  # sets of options to try, the defaults among them
    # hours from start to end, the last word included; absent: no limit
    hours: Annotated[float, Limits(0.001)] | None = None
    folds: Annotated[int, Limits(2, 10)] = 3  # parts of the training side that judge each trial
    recipe: Literal["original", "strong"] = "strong"  # the defaults that are to be beaten
    arch: str | None = None  # timm model; absent: as train.py
    weights: File | None = None  # .safetensors or .pth file to start from, instead of the hub's
    pretrained: bool = True  # start from trained weights; --no-pretrained starts from nothing
    size: Annotated[int, Limits(32, 2048)] | None = None  # side in pixels; absent: as train.py
    # run whose options are tried first, after the defaults
    from_run: Annotated[str | None, arg(name="from")] = None
    fix: tuple[str, ...] = ()  # options that are not searched, such as wd=0.05 epochs=4
    # JSON file that narrows what is searched: {"lr": [1e-4, 1e-3], "aug": ["basic", "strong"]}
    space: File | None = None
    sampler: Literal["tpe", "random", "gp"] = "tpe"  # Optuna's; gp is for 50 trials or fewer
    # journal file that several processes and machines may share; absent: study.log in --out
    study: NewFile | None = None
    # database that they share instead, such as postgresql://user@host/db or sqlite:///study.db
    storage: str | None = None
    # devices to search on at a time, each in a process of its own, such as cuda:0,cuda:1
    devices: str | None = None
    dry_run: bool = False  # show what would be searched, and end
    seed: Seed = 42  # of the split, the folds and the sampler
    runs: NewFolder = Path("runs")  # folder that holds the run of --from
