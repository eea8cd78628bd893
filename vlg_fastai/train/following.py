"""Take part in a fit that another process leads: what torchrun starts beside the first process.

The first one scans, decodes, splits, fits the probe, judges and writes; the others wait until it
begins to fine-tune, build the same Learner from what it tells them, and end when the fit does.
"""

import signal
import warnings
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from vlg_fastai.cli import PreemptedError, as_json, configured
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.console import muted
from vlg_fastai.data.store import Store
from vlg_fastai.data.view import View
from vlg_fastai.machine import device, ranks
from vlg_fastai.model.bundle import ModelSpec
from vlg_fastai.model.sources import Source
from vlg_fastai.runs.run import Run
from vlg_fastai.train.finetune import fine_tune
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.prepare import Prepared

COLUMNS = "path", "content", "label", "split", "extra"  # what loaders need of the table


def lead(prepared, run):
    "Tell the other processes, if there are any, what they will train on."
    machine = prepared.machine
    if machine.ranks.count == 1:
        return
    table = prepared.taught
    cfg = replace(prepared.cfg, device=machine.device.type, precision=machine.precision)
    shown = table[[name for name in COLUMNS if name in table]].astype({"path": str})
    told = {"cfg": as_json(cfg), "spec": asdict(prepared.spec), "run": str(run.path.resolve()),
            "table": shown.to_dict("list")}  # fmt: skip
    machine.ranks.told(told, patient=True)


def follow():
    "Wait for the first process, fit with it, and end."
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save, and nothing to say
    warnings.simplefilter("ignore")  # the first process shows them
    try:
        with muted(), suppress(PreemptedError, KeyboardInterrupt):
            prepared, run = heard(ranks.join())
            fine_tune(prepared, learner_for(prepared, Source(prepared.spec.arch, "nothing")), run)
    except RuntimeError as error:
        if not ranks.gone(error):
            raise
        raise SystemExit(1) from None  # the process that failed says why


def heard(group):
    "(`Prepared` without features, the run) that the first process tells of."
    told = group.told(None, patient=True)
    cfg, run = configured(TrainConfig, told["cfg"]), Run(Path(told["run"]))
    if not run.path.is_dir():
        raise UserError(f"--runs {run.path}: is not there for process {group.number}; all machines"
                        " need the folders of data and runs at the same place")  # fmt: skip
    machine, table = device.prepare(cfg), pd.DataFrame(told["table"])
    table["path"] = table["path"].map(Path)
    spec = ModelSpec(**{**told["spec"], "view": View.stored(told["spec"]["view"])})
    store = Store.asked_for(cfg)
    pixels = spec.view.pixels(table, store)
    return Prepared(cfg, machine, store, table, table, spec, pixels, None), run
