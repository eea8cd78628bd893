"""Find run folders by number, name or path."""

import filecmp
import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.runs.facts import FACTS
from vlg_fastai.runs.landing import NEXT, land_where_allowed
from vlg_fastai.runs.run import (
    CANDIDATES,
    CONFIG,
    EXPORTED,
    WEIGHTS,
    Run,
    number_of,
    safe_name,
)

HALF = "is unfinished and has nothing to use yet; resume it: train.py --resume {}"
TAIL = 4096  # bytes at the end of a weights file, to tell files apart without reading them all


def find(root, names):
    "The runs that match `names` (numbers, names or paths); without names, the newest usable one."
    return [_named(root, name) for name in names] if names else [newest(root)]


def finished(root, names, against=None):
    "(the runs `names`, or all finished ones under `root`; the Run `against` among them, or None)."
    usable = sorted(_usable(root), key=lambda run: run.number)
    named = {run.path.resolve(): run for run in (_named(root, name) for name in names)}
    chosen = list(named.values()) or [run for run in usable if run.done]
    if not chosen:
        raise UserError(f"--runs {root}: no finished run; train one with `python train.py`")
    if len(usable) > len(chosen) and not names:
        left = counted(len(usable) - len(chosen), "unfinished or dry run")
        say(f"left out: {left}; --run includes them")
    if against is None:
        return chosen, None
    reference = _named(root, against, "--against")
    for run in chosen:
        if run.path.resolve() == reference.path.resolve():
            return chosen, run
    return [*chosen, reference], reference


def twins_among(runs):
    "{index of a run with the same weights as an earlier one of `runs`: index of that one}."
    alike, found = defaultdict(list), {}
    for i, path in enumerate(run.path / WEIGHTS for run in runs):
        with suppress(OSError):
            first = alike[_tail(path)]
            same = (k for k in first if filecmp.cmp(runs[k].path / WEIGHTS, path, shallow=False))
            if (k := next(same, None)) is None:
                first.append(i)
            else:
                found[i] = k
    return found


def _tail(path):
    "Size and last bytes of a file: probes on one backbone differ only there, in the head."
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - TAIL, 0))
        return size, file.read()


def newest(root):
    "The newest finished run under `root`; without one, the newest other one, which is reported."
    usable = sorted(_usable(root), key=lambda run: run.number)
    done = [run for run in usable if run.done]
    say_half(root, usable)
    if done:
        for run in (one for one in usable if one.number > done[-1].number and one.can_go_on):
            say(f"{run.path.name} is newer, but {run.status}; use it with --run {run.words}")
        return done[-1]
    if not usable:
        raise UserError(f"--runs {root}: no usable run; train one with `python train.py`")
    run = usable[-1]
    say(f"no finished run in {root}: using {run.path.name} ({run.facts.status})")
    return run


def say_half(root, usable):
    "Name the run folders that are newer than all `usable` ones and have nothing to use."
    newest = max((run.number for run in usable), default=0)
    for path in sorted(root.glob(f"[0-9]*/{CONFIG}")):
        if number_of(path.parent) > newest and not (path.parent / FACTS).exists():
            say(f"{path.parent} {HALF.format(Run(path.parent).words)}")


def _usable(root):
    "The runs under `root` whose facts can be read."
    for waiting in root.glob(f"*/{NEXT}"):
        land_where_allowed(waiting.parent)
    found = [Run(path.parent) for path in root.glob(f"*/{FACTS}")]
    return [run for run in found if run.status]


def _named(root, name, option="--run"):
    found = places(root, name)
    head, _, candidate = name.rpartition(":")
    if not found and head and (homes := places(root, head)):
        return _candidate(Run(homes[0]), candidate, f"{option} {name}")
    if len(found) > 1:
        raise UserError(f"{option} {name}: matches {', '.join(p.name for p in found)}; name one")
    run = Run(found[0] if found else Path(name))
    if not found:
        known = ", ".join(sorted(run.path.name for run in _usable(root))) or "none yet"
        raise UserError(f"{option} {name}: no such run in {root}; usable: {known}")
    land_where_allowed(run.path)
    if not (run.path / FACTS).exists() and (run.path / EXPORTED).exists():
        raise UserError(f"{option} {name}: is an export; only predict.py takes one, and it alone")
    if not (run.path / FACTS).exists():
        raise UserError(f"{option} {name}: {run.path} {HALF.format(run.words)}")
    return run


def places(root, name):
    "The folders that match `name`: runs under `root`, else one anywhere."
    named = [path for path in sorted(root.glob("*")) if path.is_dir() and _answers_to(path, name)]
    return named or [path for path in [Path(name)] if path.is_dir()]


def _candidate(run, name, asked):
    "The candidate of `run` with that name; the run itself if it kept that one."
    name = name.removeprefix("weight ")  # as it is shown
    if (run.path / FACTS).exists() and run.facts.model == name:
        return run
    there = run.path / CANDIDATES / safe_name(name), run.path / safe_name(name)
    one = next((Run(path) for path in there if (path / FACTS).exists()), None)
    if one is None:
        there = [Run(path.parent).facts.model for path in run.path.glob(f"{CANDIDATES}/*/{FACTS}")]
        there += [member.path.name for member in run.members]
        known = ", ".join([run.facts.model, *sorted(there)])
        raise UserError(f"{asked}: {run.path.name} has no such candidate; it has {known}")
    return one


def _answers_to(path, name):
    return path.name == name or (name.isdigit() and number_of(path) == int(name))
