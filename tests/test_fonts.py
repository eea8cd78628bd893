"""Labels in pictures: letters of any script, where a font has them; otherwise a line says so."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from vlg_fastai.pages import fonts, sheet

CAT = "猫"  # no font of matplotlib has it


@pytest.fixture
def own_fonts(monkeypatch):
    "Only the fonts that matplotlib brings, and nothing remembered."
    own = [one for one in font_manager.fontManager.ttflist if "mpl-data" in one.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    for function in (fonts.found_for, fonts.say_missing):
        function.cache_clear()
    yield
    fonts.found_for.cache_clear()


def font_with(letter, path):
    "Write a font in which `letter` is a black square."
    pen = TTGlyphPen(None)
    for x, y in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.lineTo if (x, y) != (0, 0) else pen.moveTo)((x, y))
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "square"])
    made.setupCharacterMap({ord(letter): "square"})
    made.setupGlyf({".notdef": empty, "square": square})
    made.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    made.setupHorizontalHeader(ascent=900, descent=-100)
    made.setupNameTable({"familyName": "Square CJK", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(path)


def drawn(path, line):
    "Ink above the picture of a sheet with the caption `line`."
    sheet.draw([sheet.Cell([Image.new("RGB", (9, 9), "white")], [line])], path)
    return (np.asarray(Image.open(path).convert("L")) < 128).sum()


def test_a_letter_is_drawn_with_the_installed_font_that_has_it(own_fonts, tmp_path, capsys):
    font_with(CAT, tmp_path / "square.ttf")
    font_manager.fontManager.addfont(tmp_path / "square.ttf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ink = drawn(tmp_path / "a.png", CAT * 4) - drawn(tmp_path / "b.png", "")
    assert ink > 4 * 60  # four filled squares
    assert fonts.found_for(frozenset("a" + CAT)) == ([fonts.OWN, "Square CJK"], frozenset())
    assert "no installed font" not in capsys.readouterr().out


def test_a_letter_that_no_font_has_is_said_once_and_warns_no_more(own_fonts, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a.png", "b.png"):
            drawn(tmp_path / name, f"label: {CAT} cat")
    told = capsys.readouterr().out
    assert told.count(f"no installed font has {CAT}: ") == 1
    assert "Noto Sans CJK" in told


def test_plain_names_need_no_other_font(own_fonts):
    assert fonts.found_for(frozenset("höhlen bär Ωж")) == ([fonts.OWN], frozenset())
