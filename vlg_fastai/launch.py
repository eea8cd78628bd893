"""Which of the processes that torchrun started this one is, by its environment alone."""

import os

from vlg_fastai.config import UserError

NEEDED = "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "MASTER_ADDR"
GPUS = "--devices cuda:0,cuda:1"


def _told(name, alone):
    "The number that torchrun gives in the variable `name`; `alone` if it did not start us."
    return int(os.environ[name]) if all(one in os.environ for one in NEEDED) else alone


def processes():
    "How many processes train one net together: 1 without torchrun."
    return _told("WORLD_SIZE", 1)


def number():
    "The number of this process among all; 0 is the first, which does all but its share of the fit."
    return _told("RANK", 0)


def beside():
    "(number of this process among those on this machine, how many they are)."
    return _told("LOCAL_RANK", 0), _told("LOCAL_WORLD_SIZE", 1)


def follows():
    "Whether another process leads, and this one takes part in its fit alone."
    return number() > 0


def check(cfg):
    "UserError for options of train.py that several processes cannot share."
    count = processes()
    if count == 1:
        return
    if cfg.folds:
        raise UserError(f"--folds {cfg.folds}: torchrun trains one net; a net per GPU is python"
                        f" train.py --folds {cfg.folds} {GPUS}")  # fmt: skip
    if not cfg.epochs:
        raise UserError("--epochs 0: fits no net, so there is nothing for torchrun to share; start"
                        " it with python")  # fmt: skip
    if cfg.bs == "auto":
        raise UserError("--bs auto: torchrun needs a number; give the photos of all processes"
                        f" together, such as --bs {32 * count}")  # fmt: skip
    if cfg.bs % count or cfg.bs < 2 * count:  # batch norm cannot train on a single photo
        way = max(round(cfg.bs / count), 2) * count
        raise UserError(f"--bs {cfg.bs}: must be a multiple of the {count} processes that share it,"
                        f" and two photos or more for each; try --bs {way}")  # fmt: skip


def refuse(what):
    "UserError if torchrun started `what`, which trains nothing; said by the first process alone."
    if processes() == 1:
        return
    if follows():
        raise SystemExit(2)
    raise UserError(f"torchrun: shares the training of train.py alone; start {what} with python")
