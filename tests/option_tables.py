"""Write the option tables of docs/options.md from the configs: `python tests/option_tables.py`."""

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parents[1]))  # run by hand, the package need not be installed
from tyro.conf import Positional

from vlg_fastai.config import (
    AuditConfig,
    CompareConfig,
    InterpretConfig,
    PredictConfig,
    TrainConfig,
)
from vlg_fastai.export.options import ExportConfig
from vlg_fastai.tune.options import TuneConfig

PAGE = Path(__file__).parents[1] / "docs/options.md"
COMMANDS = {
    "train": TrainConfig,
    "predict": PredictConfig,
    "audit": AuditConfig,
    "interpret": InterpretConfig,
    "compare": CompareConfig,
    "tune": TuneConfig,
    "export": ExportConfig,
}
FIELD = re.compile(r"((?:^    #.*\n)*)^    (\w+): (?:[^#\n]*?)(?:  # (.*))?$", re.MULTILINE)


def helps(config_class):
    "Option -> its comment, the one behind it or the lines above it, of a config and its bases."
    found = {}
    for base in config_class.__mro__[:-1]:
        for above, name, behind in FIELD.findall(inspect.getsource(base)):
            found.setdefault(name, behind or " ".join(re.findall(r"# (.*)", above)))
    return found


def flag_of(config_class, name):
    "What the option `name` is called on a command line."
    hint = get_type_hints(config_class, include_extras=True)[name]
    given = [getattr(rule, "name", None) for rule in getattr(hint, "__metadata__", ())]
    return next(filter(None, given), name).replace("_", "-")


def is_positional(config_class, name):
    "Whether the option `name` is given without a flag."
    hint = get_type_hints(config_class, include_extras=True)[name]
    return any(
        rule is Positional[int].__metadata__[0] for rule in getattr(hint, "__metadata__", ())
    )


def words(hint):
    "The words that an option takes: those of its `Literal`."
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    inner = get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) else ()
    return [word for part in inner for word in words(part)]


def table(config_class):
    "One Markdown row an option: its flag, its default, the words it takes, what it is for."
    told, hints = helps(config_class), get_type_hints(config_class)
    lacking = [field.name for field in dataclasses.fields(config_class) if not told[field.name]]
    if lacking:
        raise SystemExit(f"no comment that says what they are for: {', '.join(lacking)}")
    lines = ["| option | default | |", "| - | - | - |"]
    for field in dataclasses.fields(config_class):
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        flag, choice = flag_of(config_class, field.name), " ".join(words(hints[field.name]))
        flag += f" {choice.replace(' ', '/')}" if " " in choice else ""
        flag = f"{flag.upper()} ..." if is_positional(config_class, field.name) else f"--{flag}"
        lines.append(f"| `{flag}` | {default} | {told[field.name]} |")
    return "\n".join(lines)


def with_tables(page):
    "`page` with the text between each pair of markers replaced by the current table."
    for name, config_class in COMMANDS.items():
        start, end = f"<!-- options: {name} -->", "<!-- end -->"
        pattern = re.escape(start) + ".*?" + re.escape(end)
        new = f"{start}\n{table(config_class)}\n{end}"
        page = re.sub(pattern, lambda match, new=new: new, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
