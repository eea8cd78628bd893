"""Find the stopped run that the user wants to resume, or say why it cannot be."""

import shutil
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from vlg_fastai.cli import stored_config
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.console import say
from vlg_fastai.runs.facts import FACTS
from vlg_fastai.runs.find import places
from vlg_fastai.runs.landing import land_where_allowed
from vlg_fastai.runs.run import CHECKPOINT, CONFIG, SPLIT, Run

LAST = "last"
LOCK = ".lock"
# options that change how fast a run continues or where it finds its photos, but not its result
FREE = {
    "runs", "device", "workers", "cache", "cache_gb", "clear_cache", "checkpoint_minutes", "hours",
    "data", "decisions", "weights", "lean", "devices", "tensorboard", "wandb", "config", "resume",
    "resume_anyway", "labels", "photos",
}  # fmt: skip


def to_resume(root, name):
    "The Run that matches `name` (a number, name, path or `last`); UserError if it is finished."
    found = _begun(root)[-1:] if name == LAST else places(root, name)
    if not found:
        there = ", ".join(path.name for path in _begun(root)) or "none"
        raise UserError(f"--resume {name}: no such run in {root}; runs to resume: {there}")
    if len(found) > 1:
        raise UserError(f"--resume {name}: matches {', '.join(p.name for p in found)}; name one")
    run = Run(found[0])
    if (run.path.parent / CONFIG).is_file():
        home = Run(run.path.parent)
        raise UserError(f"--resume {name}: is part of {home.path.name}; use --resume {home.words}")
    if not (run.path / CONFIG).is_file():
        raise UserError(f"--resume {name}: {run.path} has no {CONFIG}: no run was started there")
    if not _can_go_on(run.path):
        raise UserError(f"--resume {name}: {run.path.name} is {run.facts.status}; nothing to do")
    return run


def _begun(root):
    "The run folders under `root` that can be resumed, the newest last."
    return [
        path.parent for path in sorted(root.glob(f"[0-9]*/{CONFIG}")) if _can_go_on(path.parent)
    ]


def _can_go_on(folder):
    land_where_allowed(folder)
    if not (folder / FACTS).exists():
        return (folder / SPLIT).exists()
    return Run(folder).can_go_on


def earlier(cfg):
    "The options stored with the run that `cfg` resumes; {} if it starts from scratch."
    if not cfg.resume:
        return {}
    stored = stored_config(to_resume(cfg.runs, cfg.resume).path / CONFIG, TrainConfig)
    return {key: value for key, value in stored.items() if key != "runs"}


def check_same(cfg):
    "UserError if `cfg` changes an option that the run it resumes has fixed."
    for key, value in earlier(cfg).items():
        if key not in FREE and getattr(cfg, key) != value:
            option = key.replace("_", "-")
            raise UserError(
                f"--{option} {getattr(cfg, key)}: the run was started with {value}, and --resume"
                f" {cfg.resume} keeps that; leave it out, or start a new run with --config"
            )


@contextmanager
def locked(run):
    "Keep every other process from training in the folder of `run`; a kill releases it."
    lock = FileLock(run.path / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"--resume {run.path.name}: another process is training in it") from None
    except NotImplementedError:
        say(f"{run.path}: its disk has no locks: make sure that only one process trains in it")
    try:
        yield
    finally:
        with suppress(OSError):  # before the release: never removes another process's lock
            (run.path / LOCK).unlink(missing_ok=True)
        lock.release()


def clear(run):
    "Remove what only a stopped run needs."
    shutil.rmtree(run.path / CHECKPOINT, ignore_errors=True)
