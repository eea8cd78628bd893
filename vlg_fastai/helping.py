"""Print what a command's options are for, in groups: the comments of the configs are the text."""

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from rich.text import Text
from tyro.conf import Positional

from vlg_fastai.console import console, say
from vlg_fastai.limits import Is

FIELD = re.compile(r"((?:^    #.*\n)*)^    (\w+): (?:[^#\n]*?)(?:  # (.*))?$", re.MULTILINE)
GROUP = re.compile(r"    # == (.*) ==\n")  # a heading above the first option of a group
RUNS = "Runs"  # the group that says which runs a command works with
LEFT, WIDEST = 27, 100  # columns for the option and what it takes, and for both
WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def helps(config_class):
    "{option: its comment}, the one behind it or the lines above it, of a config and its bases."
    return {name: told for _, name, told in _fields(config_class)}


def groups(config_class):
    "{title: [options]} of a config: everyday ones first, which runs next, what is shared last."
    found = {}
    for title, name, _ in _fields(config_class):
        found.setdefault(title, []).append(name)
    order = sorted(
        found, key=lambda title: 0 if title == next(iter(found)) else 1 + (title != RUNS)
    )
    return {title: found[title] for title in order}


def _fields(config_class):
    "Yield (group, option, comment) once for each option."
    seen = set()
    for base in config_class.__mro__[:-1]:
        title = ""
        for above, name, behind in FIELD.findall(inspect.getsource(base)):
            title = (GROUP.findall(above) or [title])[-1]
            comment = behind or " ".join(re.findall(r"# (.*)", GROUP.sub("", above)))
            if name not in seen:
                seen.add(name)
                yield title, name, comment


def flag_of(config_class, name):
    "What the option `name` is called on a command line."
    given = [getattr(rule, "name", None) for rule in _marks(config_class, name)]
    return next(filter(None, given), name).replace("_", "-")


def is_positional(config_class, name):
    "Whether the option `name` is given without a flag."
    (mark,) = Positional[int].__metadata__
    return mark in _marks(config_class, name)


def _marks(config_class, name):
    hint = get_type_hints(config_class, include_extras=True)[name]
    return getattr(hint, "__metadata__", ())


def usage(config_class, name):
    "How the option is written: `--lr X|find`, `--[no-]probe`, `PHOTOS ...`."
    hint = get_type_hints(config_class, include_extras=True)[name]
    flag, parts = flag_of(config_class, name), list(dict.fromkeys(takes(hint)))
    if is_positional(config_class, name):
        return f"{flag.upper()} ..."
    if not parts:
        default = config_class.__dataclass_fields__[name].default
        return f"--[no-]{flag}" if default else f"--{flag}"
    if get_origin(hint) is tuple or tuple in map(get_origin, get_args(hint)):
        optional = NoneType in get_args(hint)  # a number may be left out
        return f"--{flag} [{parts[0]}]" if optional else f"--{flag} {parts[0]} ..."
    return f"--{flag} {'|'.join(parts)}"


def takes(hint):
    "The words and placeholders that an option's type admits; none for a switch."
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) is Annotated:
        base, *rules = get_args(hint)
        kinds = [rule.kind.split()[-1].upper() for rule in rules if isinstance(rule, Is)]
        return kinds or takes(base)
    if isinstance(hint, UnionType) or get_origin(hint) is not None:
        return [word for part in get_args(hint) for word in takes(part)]
    return [WORDS[hint]] if hint in WORDS else []


def show_help(config_class, prog):
    "Print the options of a command in groups, everyday ones first."
    say(f"usage: {prog} [OPTIONS]")
    say()
    say(config_class.__doc__)
    told = helps(config_class)
    for title, names in groups(config_class).items():
        say()
        console.print(Text(title, style="bold"))
        for name in names:
            text = told[name] + _default(config_class, name)
            say(_entry(usage(config_class, name), text, min(console.width, WIDEST)))
    say()
    say("misspelled options get suggestions; docs/options.md lists those of every command")


def _entry(option, text, width):
    "An option and what it is for, in two columns; below each other where the first is too long."
    lines = textwrap.wrap(text, width - LEFT)
    first = f"  {option}"
    if len(first) < LEFT:
        lines[0] = f"{first:<{LEFT}}{lines[0]}"
        return f"\n{' ' * LEFT}".join(lines)
    return f"\n{' ' * LEFT}".join([first, *lines])


def _default(config_class, name):
    "The default in words, where there is one that says something."
    default = config_class.__dataclass_fields__[name].default
    silent = isinstance(default, bool) or default in (None, (), dataclasses.MISSING)
    return "" if silent else f" [{default}]"
