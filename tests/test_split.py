"""The split: over groups of near-duplicates, before balancing, with every class on both sides."""

import numpy as np
import pandas as pd
import pytest
from conftest import COLOURS, draw_folder

from vlg_fastai.config import UserError
from vlg_fastai.data import folder, scan, split
from vlg_fastai.data.decisions import DROPPED


def scanned(root):
    return scan.scan_classes(folder.layout(root))


def table_of(*groups, labels=None):
    "A scan whose photos have the given group numbers; equal numbers are equal files."
    n = len(groups)
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "file": [f"{i}.jpg" for i in range(n)],
            "label": labels or ["a"] * n,
            "side": "train",
            "content": [str(group) for group in groups],
            "dhash": rng.integers(0, 2**63, n, dtype=np.uint64),
            "grey": [rng.integers(0, 255, 256, dtype=np.uint8).tobytes() for _ in range(n)],
            "problem": [None] * n,
        }
    )


def test_no_group_is_on_both_sides():
    table = split.assign(table_of(*([0, 1, 2, 3] * 10), *range(4, 40)), 0.15, 1)
    sides = table.groupby("group")["split"].nunique()
    assert (sides == 1).all()
    assert set(table["split"]) == {"train", "valid"}


def test_the_share_held_out_is_that_of_the_groups():
    table = split.assign(table_of(*range(200)), 0.15, 1)
    assert (table["split"] == "valid").sum() == 30


def test_the_seed_alone_decides():
    first, again, other = (split.assign(table_of(*range(50)), 0.2, s)["split"] for s in (3, 3, 4))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("seed", range(20))
def test_every_class_of_two_groups_is_on_both_sides(seed):
    labels = ["big"] * 40 + ["pair"] * 2 + ["three"] * 3
    table = split.assign(table_of(*range(45), labels=labels), 0.15, seed)
    sides = table.groupby("label")["split"].agg(set)
    assert all(sides[label] == {"train", "valid"} for label in ("big", "pair", "three"))


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_group_is_for_training_only(seed):
    labels = ["big"] * 40 + ["lone"] * 3
    table = split.assign(table_of(*range(40), 99, 99, 99, labels=labels), 0.3, seed)
    assert set(table.loc[table["label"] == "lone", "split"]) == {"train"}


def test_a_class_left_out_of_the_draw_gives_its_smallest_group_and_gets_back_its_largest():
    labels = ["film"] * 31
    sides = {}
    for held_out in (set(), {0, 1}):
        groups = [0] + [1] * 30
        table = table_of(*groups, labels=labels).assign(group=groups, alike=groups)
        sides[len(held_out)] = split._held_out(table, held_out)
    assert sides == {0: {0}, 2: {0}}


@pytest.mark.parametrize("seed", range(10))
def test_a_group_shared_by_classes_leaves_none_of_them_without_training(seed):
    labels = ["a", "b"] * 3
    table = split.assign(table_of(0, 0, 1, 1, 2, 2, labels=labels), 0.5, seed)
    assert (table.groupby("label")["split"].agg(lambda s: "train" in set(s))).all()


def test_backbones_that_find_other_photos_alike_hold_out_nearly_the_same_ones():
    rng, table = np.random.default_rng(0), table_of(*range(300))
    held_out = []
    for _ in range(3):
        x = rng.normal(size=(300, 32))
        twin = rng.permutation(300)
        x[twin[:30]] = x[twin[30:60]]  # thirty pairs, different each time
        done = split.assign(table, 0.15, 1, x)
        assert (done.groupby("group")["split"].nunique() == 1).all()
        assert done["group"].nunique() == 270
        held_out.append(set(done.loc[done["split"] == "valid", "file"]))
    assert all(len(a & held_out[0]) >= 0.8 * len(a) for a in held_out)


def test_dropping_photos_leaves_the_others_on_their_side():
    table = table_of(*range(200))
    before = split.assign(table, 0.15, 1)["split"]
    table.loc[:9, "problem"] = DROPPED
    after = split.assign(table, 0.15, 1)["split"]
    assert (after[:10] == "unused").all()
    assert after[10:].equals(before[10:])


def test_dropping_a_broken_file_leaves_the_others_on_their_side():
    table = table_of(*range(200))
    table.loc[:9, "problem"] = "truncated"
    table["grey"] = table["grey"].mask(table["problem"].notna(), bytes(256))  # as in a scan
    before = split.assign(table, 0.15, 1)["split"]
    for broken in range(10):
        table.loc[broken, "problem"] = DROPPED
        assert split.assign(table, 0.15, 1)["split"].equals(before)


def test_unreadable_files_stay_in_the_table_as_unused():
    table = table_of(*range(10))
    table.loc[3, "problem"] = "truncated"
    done = split.assign(table, 0.2, 0)
    assert done.loc[3, "split"] == "unused"
    assert len(done) == 10


def test_a_validation_folder_is_the_split_and_its_twins_are_reported(tmp_path, capsys):
    root = draw_folder(tmp_path / "d", dict.fromkeys(COLOURS, 5))
    for label in COLOURS:
        (root / "valid" / label).mkdir(parents=True)
        source = root / "train" / label
        (source / "04.png").rename(root / "valid" / label / "04.png")
    twin = root / "valid" / "frog" / "twin.png"
    twin.write_bytes((root / "train" / "frog" / "00.png").read_bytes())
    table = split.assign(scanned(root), 0.15, 0)
    assert set(table.loc[table["split"] == "valid", "file"].str.split("/").str[0]) == {"valid"}
    assert "1 of 4 validation photos have a near-duplicate in train" in capsys.readouterr().out


def test_oversampling_evens_out_the_training_side_and_leaves_the_other_alone():
    labels = ["big"] * 30 + ["rare"] * 6
    table = split.assign(table_of(*range(36), labels=labels), 0.2, 0)
    more = split.oversampled(table)
    counts = more[more["split"] == "train"]["label"].value_counts()
    assert counts["big"] == counts["rare"]
    assert more[more["split"] == "valid"].equals(table[table["split"] == "valid"])


def test_one_class_or_none_is_refused_in_one_line(tmp_path):
    root = draw_folder(tmp_path / "d", {"frog": 3})
    with pytest.raises(UserError, match="only the class 'frog' has a readable photo"):
        scan.check(scanned(root))
    for path in (root / "train/frog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no class has a readable photo"):
        scan.check(scanned(root))


def test_empty_classes_and_broken_files_are_said(tmp_path, capsys):
    root = draw_folder(tmp_path / "d", dict.fromkeys(COLOURS, 3))
    (root / "train" / "ghost").mkdir()
    (root / "train" / "frog" / "bad.jpg").write_bytes(b"no photo")
    (root / "train" / "frog" / "notes.txt").write_text("hello")
    table = scanned(root)
    scan.say_counts(table)
    told = capsys.readouterr().out
    assert "ghost: no photos; the class is left out" in told
    assert "left out 1 file without an image suffix" in told
    assert "1 of 10 files cannot be read" in told
    assert "no photo" in told
    assert table["problem"].notna().sum() == 1


def test_the_report_counts_per_class_and_names_blank_scores(capsys):
    labels = ["big"] * 20 + ["lone"]
    split.say_split(split.assign(table_of(*range(21), labels=labels), 0.2, 0))
    told = capsys.readouterr().out
    assert "lone: 1 photo in 1 group: training only" in told
    assert "big" in told


def test_what_lies_beside_the_class_folders_is_said(tmp_path, capsys):
    root = draw_folder(tmp_path / "d", dict.fromkeys(COLOURS, 3))
    (root / "train" / "loose.png").write_bytes((root / "train/frog/00.png").read_bytes())
    (root / "valid").mkdir()
    for path in (root / "train" / "frog").iterdir():
        path.write_bytes(b"x")
    scan.say_counts(scanned(root))
    told = capsys.readouterr().out
    assert "left out 1 photo outside class folders" in told
    assert "valid: no class folders with photos; using a random split instead" in told
    assert "frog: none of its photos can be read; the class is left out" in told
