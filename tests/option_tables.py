"""Write the option tables of docs/options.md from the configs: `python tests/option_tables.py`."""

import dataclasses
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parents[1]))  # run by hand, the package need not be installed

from vlg_fastai.config import (
    AuditConfig,
    CompareConfig,
    InterpretConfig,
    PredictConfig,
    TrainConfig,
)
from vlg_fastai.export.options import ExportConfig
from vlg_fastai.generate.options import GenerateConfig
from vlg_fastai.helping import flag_of, groups, helps, is_positional
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
    "generate": GenerateConfig,
}


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
    for title, names in groups(config_class).items():
        lines.append(f"| **{title}** | | |")
        lines += [row(config_class, name, told[name], hints[name]) for name in names]
    return "\n".join(lines)


def row(config_class, name, told, hint):
    "The table's row of an option."
    value = config_class.__dataclass_fields__[name].default
    default = "" if value in (None, ()) else f"`{value}`"
    flag, choice = flag_of(config_class, name), " ".join(words(hint))
    flag += f" {choice.replace(' ', '/')}" if " " in choice else ""
    flag = f"{flag.upper()} ..." if is_positional(config_class, name) else f"--{flag}"
    return f"| `{flag}` | {default} | {told} |"


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
