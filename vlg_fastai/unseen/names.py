"""Read class names and their prompts from a file. Loads nothing heavy."""

import re
from dataclasses import dataclass

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say

NUMBERED = re.compile(r"^\d+[\t ]+(?=\D)")  # AwA2's classes.txt numbers its lines


@dataclass(frozen=True)
class Name:
    "A class: its label as it is submitted, and the words that describe it."

    label: str
    prompts: tuple[str, ...]

    @classmethod
    def of(cls, label):
        return cls(label, (words(label),))


@dataclass(frozen=True)
class Names:
    "The classes that were trained on, and those that were not."

    known: tuple[Name, ...]
    unseen: tuple[Name, ...]

    @property
    def every(self):
        return (*self.known, *self.unseen)

    @property
    def labels(self):
        return [name.label for name in self.every]


def words(label):
    "A label as a person writes it: `+` and `_` are spaces."
    return " ".join(label.replace("+", " ").replace("_", " ").split())


def read(path, option, classes):
    """The `Names` of a file beside the known `classes`; `option` is the option that names the file.

    A line is `label`, or `label: prompt | synonym`. Lines of known classes give their prompts, and
    are otherwise optional. UserError where the file is not text or repeats a label.
    """
    meant, found = {_key(label): label for label in classes}, {}
    for name in (_name(line, meant) for line in _lines(path, option, meant)):
        key = _key(name.label)
        if not key or key in found:
            what = "a line has no label" if not key else f"{name.label!r} occurs twice"
            raise UserError(f"{option} {path}: {what}")
        found[key] = name
    old = {meant[key]: name for key, name in found.items() if key in meant}
    known = tuple(Name(c, old[c].prompts) if c in old else Name.of(c) for c in classes)
    # sorted: the order in the file must not matter
    unseen = tuple(found[key] for key in sorted(found.keys() - meant.keys()))
    _report(option, path, old, unseen, classes)
    return Names(known, unseen)


def _key(label):
    return words(label).lower()


def _lines(path, option, meant):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{option} {path}: is not UTF-8 text; write one name per line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if any(_key(line) in meant for line in lines) else unnumbered(lines)


def unnumbered(lines):
    "`lines` without their leading numbers, where these only count the lines."
    numbers = [NUMBERED.match(line) for line in lines]
    counted = all(numbers) and [int(n.group()) for n in numbers] == [*range(1, len(lines) + 1)]
    return [NUMBERED.sub("", line) for line in lines] if counted else lines


def _name(line, meant):
    if _key(line) in meant:  # a known class may have a colon in its name
        return Name.of(line)
    label, _, told = line.partition(":")
    prompts = tuple(words(part) for part in told.split("|") if part.strip())
    return Name(label.strip(), prompts or (words(label),))


def _report(option, path, old, unseen, classes):
    "Report which classes of the run the file repeats or lacks, and whether any name is new."
    if old and option == "--unseen":
        known = counted(len(old), "name")
        say(f"{path}: ignoring {known} that the run knows, e.g. {next(iter(old))!r}")
    if option == "--classes" and len(old) < len(classes):
        lacking = next(c for c in classes if c not in old)
        number = counted(len(classes) - len(old), "class", "classes")
        say(f"{path}: lacks {number} of the run, e.g. {lacking!r}")
    if not unseen:
        say(f"{path}: holds no name that is new to the run; nothing changes")
