"""Checks on real photos with a known truth; they run where VLG_REAL_DATA names such a folder."""

import csv
import os
from pathlib import Path

import pytest

from vlg_fastai.data import folder, scan, split

REAL = os.environ.get("VLG_REAL_DATA")
pytestmark = pytest.mark.skipif(not REAL, reason="VLG_REAL_DATA names no folder of real photos")


@pytest.fixture(scope="module")
def table():
    return split.assign(scan.scan_classes(folder.layout(Path(REAL))), 0.15, 42)


@pytest.fixture(scope="module")
def planted():
    "(copy, original) of the near-duplicates that were planted in the training folder."
    with (Path(REAL) / "truth/train.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["issue"] == "duplicate"]
    return [(f"train/{row['file']}", f"train/{row['of']}") for row in rows]


def test_planted_near_duplicates_share_a_group(table, planted):
    group = table.set_index("file")["group"]
    found = sum(group[copy] == group[original] for copy, original in planted)
    assert found >= 0.95 * len(planted)


def test_grouping_joins_little_that_was_not_planted(table, planted):
    joined = len(table) - table["group"].nunique()
    assert joined <= 1.15 * len(planted)


def test_hardly_a_planted_pair_lies_on_both_sides_of_the_split(table, planted):
    side = table.set_index("file")["split"]
    assert sum(side[copy] != side[original] for copy, original in planted) <= 1


def test_every_class_has_photos_on_both_sides(table):
    assert (table.groupby("label")["split"].nunique() == 2).all()
