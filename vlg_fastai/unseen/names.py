"""File of class names in, names with their prompts out. Loads nothing heavy."""

import re
from dataclasses import dataclass

from vlg_fastai.config import UserError
from vlg_fastai.console import say

NUMBERED = re.compile(r"^\d+[\t ]+(?=\D)")  # AwA2's classes.txt counts its lines


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
    """The `Names` of a file beside the known `classes`; `option` is how the user calls the file.

    A line is `label`, or `label: prompt | synonym`. The lines of known classes give their prompts,
    and are otherwise not needed. UserError where the file is no text or a label comes twice.
    """
    found = {}
    for name in map(_name, _lines(path, option)):
        if name.label in found:
            raise UserError(f"{option} {path}: {name.label!r} is there twice")
        found[name.label] = name
    meant = {_key(label): label for label in classes}
    old = {meant[_key(label)]: n for label, n in found.items() if _key(label) in meant}
    known = tuple(Name(c, old[c].prompts) if c in old else Name.of(c) for c in classes)
    unseen = tuple(name for label, name in found.items() if _key(label) not in meant)
    _report(option, path, old, unseen, classes)
    return Names(known, unseen)


def _key(label):
    return words(label).lower()


def _lines(path, option):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{option} {path}: is no text in UTF-8; one name a line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _name(line):
    label, _, told = NUMBERED.sub("", line).partition(":")
    prompts = tuple(words(part) for part in told.split("|") if part.strip())
    return Name(label.strip(), prompts or (words(label),))


def _report(option, path, old, unseen, classes):
    "Say what of the file is already known."
    if old and option == "--unseen":
        say(f"{path}: {len(old)} names are classes of the run, e.g. {next(iter(old))!r}: left out")
    if option == "--classes" and len(old) < len(classes):
        lacking = next(c for c in classes if c not in old)
        say(f"{path}: {len(classes) - len(old)} classes of the run are not in it, e.g. {lacking!r}")
    if not unseen:
        say(f"{path}: no name that the run does not know: nothing changes")
