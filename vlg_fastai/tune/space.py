"""Define which options of train.py a search may change, and among which values."""

import json
import math
from dataclasses import dataclass, replace
from typing import get_type_hints

from vlg_fastai.cli import as_typed
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.console import counted, say, show
from vlg_fastai.runs.files import read_json


@dataclass(frozen=True)
class Range:
    "Numbers from `low` to `high`, on a log scale if `log`, integers if `whole`."

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def ask(self, trial, name):
        ask = trial.suggest_int if self.whole else trial.suggest_float
        return ask(name, self.low, self.high, log=self.log)

    def nearest(self, value):
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else float(value)

    def narrowed(self, given):
        "The range between the two numbers `given`; None if they do not lie within it."
        kind = int if self.whole else (int, float)
        numbers = len(given) == 2 and all(isinstance(v, kind) and v is not True for v in given)
        inside = numbers and self.low <= given[0] < given[1] <= self.high
        return replace(self, low=given[0], high=given[1]) if inside else None

    def __str__(self):
        return f"{self.low:g} to {self.high:g}{', by its logarithm' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    "One of several values."

    values: tuple

    def ask(self, trial, name):
        return trial.suggest_categorical(name, self.values)

    def nearest(self, value):
        if value in self.values or isinstance(self.values[0], str | bool):
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda own: abs(own - value))

    def narrowed(self, given):
        "The choice among the values `given`; None if any is not among its own."
        known = {json.dumps(value): value for value in self.values}
        known |= {str(int(v)): v for v in self.values if isinstance(v, float) and v == int(v)}
        found = [known.get(json.dumps(value)) for value in given]
        return Choice(tuple(found)) if found and None not in found else None

    def __str__(self):
        return ", ".join(_word(value) for value in self.values)


def _word(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


# what a search may change; bounds are a factor of 3 to 10 around what recipes use
SPACE = {
    "lr": Range(1e-4, 1e-2, log=True),
    "lr_body": Range(2e-5, 1e-3, log=True),
    "layer_decay": Range(0.6, 1.0),
    "wd": Range(1e-3, 0.2, log=True),
    "epochs": Range(2, 16, log=True, whole=True),
    "head": Choice(("linear", "mlp")),
    "dropout": Range(0.0, 0.6),
    "drop_path": Range(0.0, 0.2),
    "label_smoothing": Choice((0.0, 0.05, 0.1, 0.2)),
    "targets": Choice(("given", "cleaned", "soft")),
    "aug": Choice(("basic", "strong", "degraded", "trivial")),
    "mixup": Choice((0.0, 0.2)),
    "ema": Choice((False, True)),
    "freeze_bn": Choice((False, True)),
    "l2_sp": Choice((0.0, 3.0, 30.0)),
}
NO_FEATURES = ("targets",)  # options that need a pretrained backbone
# options that define a search, and so cannot be fixed or searched
SETTLED = {
    "data", "arch", "weights", "pretrained", "size", "seed", "folds", "keep", "hours", "extra",
    "pseudo",
}  # fmt: skip


def asked(cfg):
    "({option: Range or Choice} to search, {option: value} fixed by --fix) of a TuneConfig."
    fixed = dict(_fixed(text) for text in cfg.fix)
    space = dict(SPACE)
    if not cfg.pretrained:
        space = {name: one for name, one in space.items() if name not in NO_FEATURES}
    for name, given in (read_json(cfg.space, "--space") if cfg.space else {}).items():
        space[name] = _narrowed(cfg.space, name, given)
    if fixed.get("cutmix"):
        space.pop("mixup", None)  # the two exclude each other
    space = {name: one for name, one in space.items() if name not in fixed}
    if not space:
        raise UserError("--fix: nothing is left to search; fix fewer options")
    return space, fixed


def _fixed(text):
    "(option, value) of a text like wd=0.05."
    name, sign, value = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    hints = get_type_hints(TrainConfig)
    if not sign or name not in hints or name in SETTLED:
        known = ", ".join(key for key in hints if key not in SETTLED)
        raise UserError(f"--fix {text}: give option=value, with an option of train.py: {known}")
    if value.strip() == "find":
        raise UserError(f"--fix {text}: a search needs a number")
    return name, as_typed(f"--fix {text}", name, value.strip(), hints)


def _narrowed(path, name, given):
    if name not in SPACE:
        raise UserError(f"--space {path}: {name} is not searched; what is: {', '.join(SPACE)}")
    found = SPACE[name].narrowed(given) if isinstance(given, list) else None
    if found is None:
        kind = "two numbers within" if isinstance(SPACE[name], Range) else "some of"
        raise UserError(f"--space {path}: {name}: give a list of {kind} {SPACE[name]}")
    return found


def of(options, space):
    "The searched ones among `options` of train.py, with implicit values filled in."
    given = dict(options)
    if given["dropout"] is None:
        given["dropout"] = 0.5 if given["head"] == "mlp" else 0.0
    given["lr_body"] = given["lr_body"] or given["lr"] * (1 / 20 if given["pretrained"] else 1)
    return {name: given[name] for name in space}


def nearest(values, space):
    "`values` {name: value}, each moved to the nearest value that `space` allows."
    return {name: one.nearest(values[name]) for name, one in space.items()}


def is_inside(values, space):
    "Whether `values` lie within `space` unchanged."
    found = nearest(values, space)
    return all(
        found[name] == value if isinstance(value, str | bool) else math.isclose(found[name], value)
        for name, value in values.items()
    )


def rows(space, fixed):
    "[(option, its values)], for a table."
    settled = [(name, f"{_word(value)} (--fix)") for name, value in fixed.items()]
    return [*((name, str(one)) for name, one in space.items()), *settled]


def say_plan(cfg):
    "Show what a TuneConfig would search."
    show("searched", ["option", "values"], rows(*asked(cfg)))
    trials = counted(cfg.trials, "trial")
    say(f"{trials}, each on up to {cfg.folds} folds; nothing was done (--dry-run)")
