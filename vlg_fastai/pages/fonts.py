"""Find installed fonts for the letters of labels that matplotlib's own font lacks."""

import warnings
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager, rc_context
from matplotlib.ft2font import FT2Font

from vlg_fastai.console import drawable, say

OWN = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic and more, no CJK
BOXES = "Last Resort"  # and this one too: a box for every letter there is
SHOWN = 8  # letters named that no font has


@contextmanager
def able(texts):
    "Draw inside with fonts that have all letters of `texts`; says which no installed font has."
    families, missing = found_for(frozenset("".join(map(drawable, texts))))
    if missing:
        say_missing(missing)
    with rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # said once, in words
        yield


@cache
def found_for(letters):
    "(families to draw `letters` with, the first that has a letter draws it; letters none has)."
    families = [OWN]
    missing = lacking(font_manager.findfont(OWN), {one for one in letters if one.isprintable()})
    for path, name in installed():
        if not missing:
            break
        left = lacking(path, missing)
        if len(left) < len(missing):
            families.append(name)
            missing = left
    return families, frozenset(missing)


def installed():
    "[(path, family)] of upright fonts of normal weight, names for many scripts first."
    fonts = font_manager.fontManager.ttflist
    normal = {"400", "normal"}
    plain = [one for one in fonts if one.style == "normal" and str(one.weight) in normal
             and not one.name.startswith(BOXES)]  # fmt: skip
    broad = sorted(plain, key=lambda font: ("CJK" not in font.name, font.name, font.fname))
    return [(font.fname, font.name) for font in broad]


def lacking(path, letters):
    "Those of `letters` that the font at `path` has no picture of."
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # a font that is damaged, or gone since the list was made
        return letters
    return {letter for letter in letters if not font.get_char_index(ord(letter))}


@cache
def say_missing(missing):
    told = "".join(sorted(missing)[:SHOWN])
    say(
        f"no installed font has {told}: pictures show boxes instead, pages are not affected;"
        " install one, such as Noto Sans CJK (fonts-noto-cjk)"
    )
