"""Near-duplicates are found despite edits, and merely plain pictures are not taken for them."""

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from vlg_fastai.data import neighbours, twins


def groups(images, content=None):
    marks = [twins.fingerprint(image) for image in images]
    dhash = np.array([mark[0] for mark in marks], dtype=np.uint64)
    grey = np.stack([mark[1] for mark in marks])
    return twins.groups(content or list(range(len(images))), dhash, grey).tolist()


def scene(seed):
    rng = random.Random(seed)
    image = Image.linear_gradient("L").rotate(90 * rng.randint(0, 3)).resize((240, 180))
    for _ in range(12):
        x, y, r = rng.randint(0, 240), rng.randint(0, 180), rng.randint(20, 50)
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=rng.randint(0, 255))
    return image.convert("RGB")


def recoded(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=35)
    return Image.open(file)


EDITS = {
    "re-encoded": recoded,
    "half the size": lambda image: image.resize((120, 90)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_in_the_group_of_its_original(edit):
    assert groups([scene(1), scene(2), EDITS[edit](scene(1))]) == [0, 1, 0]


def test_other_photos_are_groups_of_their_own():
    assert groups([scene(seed) for seed in range(8)]) == list(range(8))


def test_equal_files_are_one_group_whatever_they_look_like():
    assert groups([scene(1), scene(2), scene(3)], ["same", "other", "same"]) == [0, 1, 0]


def test_plain_surfaces_and_strokes_on_white_are_nobodys_twins():
    strokes = []
    for x in (20, 70, 120, 170):
        stroke = Image.new("L", (200, 200), 255)
        ImageDraw.Draw(stroke).line((x, 20, x + 8, 180), fill=0, width=4)
        strokes.append(stroke.convert("RGB"))
    plain = [Image.new("RGB", (50, 50), colour) for colour in ("red", "green", "blue")]
    assert groups([*strokes, *plain]) == list(range(7))


def test_pairs_are_the_same_in_blocks_as_at_once(monkeypatch):
    images = [
        scene(1),
        scene(2),
        EDITS["paler"](scene(1)),
        scene(3),
        recoded(scene(2)),
    ]
    at_once = groups(images)
    monkeypatch.setattr(twins, "AT_ONCE", 1)
    monkeypatch.setattr(neighbours, "BLOCK", 2)
    assert groups(images) == at_once == [0, 1, 0, 2, 1]


def test_a_mirrored_copy_is_found_as_such_and_joins_no_group():
    images = [scene(1), scene(2), ImageOps.mirror(scene(1))]
    hashes, grey = (np.stack(side) for side in zip(*map(twins.fingerprint, images), strict=True))
    assert groups(images) == [0, 1, 2]
    assert [list(side) for side in twins.mirrored_pairs(hashes, grey)] == [[0], [2]]


def test_features_join_what_hashes_do_not_unless_they_join_everything(capsys):
    images = [scene(seed) for seed in range(30)]
    hashes, grey = (np.stack(side) for side in zip(*map(twins.fingerprint, images), strict=True))
    names = [str(i) for i in range(30)]
    x = np.random.default_rng(0).normal(size=(30, 40))
    x[7] = x[3] + 0.01
    found = twins.groups(names, hashes, grey, x)
    assert found[7] == found[3]
    assert len(set(found)) == 29
    alike = twins.groups(names, hashes, grey, np.ones((30, 40)))
    assert len(set(alike)) == 30
    assert "too many photos alike" in capsys.readouterr().out
