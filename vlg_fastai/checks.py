"""Check a config: values out of range, missing paths and packages, options that clash."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

from vlg_fastai.config import UserError
from vlg_fastai.limits import EXCLUSIVE, NEEDS, PACKAGES, Is, Limits


def check(cfg):
    "Raise UserError for an option out of its `Limits`, a missing path, or options that clash."
    _check_together(cfg)
    for key, hint in get_type_hints(type(cfg), include_extras=True).items():
        values = getattr(cfg, key)
        for value in values if isinstance(values, tuple) else (values,):
            for problem in filter(None, (_problem(rule, value) for rule in _rules(hint))):
                raise UserError(f"--{_dashed(key)} {value}: {problem}")


def _check_together(cfg):
    "The same for options that exclude or need each other, or that need a missing package."
    for one, other in EXCLUSIVE:
        if getattr(cfg, one, None) and getattr(cfg, other, None):
            raise UserError(f"--{other} {getattr(cfg, other)}: conflicts with --{one}; give one")
    for option, others in NEEDS.items():
        given = getattr(cfg, option, None) not in (None, False)
        if given and not any(getattr(cfg, other) for other in others):
            raise UserError(f"--{_dashed(option)}: needs --{' or --'.join(map(_dashed, others))}")
    for option in PACKAGES:
        if getattr(cfg, option, None) and _absent(option):
            raise UserError(f"--{option}: needs a package: pip install {option}")


def check_extra(package, command, extra):
    "UserError if `package`, which `command` needs, is not installed."
    if _absent(package):
        raise UserError(f"{command}: needs {package}: pip install -r requirements-{extra}.txt")


def _absent(package):
    "Whether `package` is not installed; a mere folder of that name, as W&B makes, is not one."
    found = find_spec(package)
    return found is None or found.origin is None


def _dashed(key):
    return key.replace("_", "-")


def _problem(rule, value):
    "How `value` breaks `rule`, or None."
    if isinstance(rule, Limits) and isinstance(value, int | float):
        return None if rule.admits(value) else f"must be {rule}"
    if isinstance(rule, Is) and isinstance(value, Path):
        return rule.problem(value)
    return None


def _rules(hint):
    "The `Limits` and `Is` anywhere in a type hint."
    if get_origin(hint) is Annotated:
        return hint.__metadata__
    return [rule for inner in get_args(hint) for rule in _rules(inner)]
