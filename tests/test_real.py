"""Checks on real photos with a known truth; they run if VLG_REAL_DATA names such a folder."""

import csv
import os
from pathlib import Path

import pytest

from vlg_fastai.data import folder, scan, split

REAL = os.environ.get("VLG_REAL_DATA")
pytestmark = [
    pytest.mark.skipif(not REAL, reason="VLG_REAL_DATA names no folder of real photos"),
    pytest.mark.xdist_group("real"),  # one process: its scan and its audit are made once
]


@pytest.fixture(scope="module")
def table():
    return split.assign(scan.scan_classes(folder.layout(Path(REAL))), 0.15, 42)


@pytest.fixture(scope="module")
def planted():
    "[(copy, original)] of the near-duplicates planted in the training folder."
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


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    "Rows of issues.csv from an audit of the real photos, and its decisions, stored elsewhere."
    from vlg_fastai.audit.run import audit
    from vlg_fastai.config import AuditConfig
    from vlg_fastai.model.sources import choose

    out = tmp_path_factory.mktemp("audit")
    given = {"data": Path(REAL), "out": out, "decisions": out / "d.csv", "device": "cpu"}
    audit(AuditConfig(**given, auto=True), choose("tf_efficientnet_lite0", None, True))
    with (out / "issues.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file)), out / "d.csv"


@pytest.fixture(scope="module")
def wrong():
    with (Path(REAL) / "truth/train.csv").open(encoding="utf-8") as file:
        return {row["file"] for row in csv.DictReader(file) if row["issue"] == "wrong_label"}


def test_the_audit_finds_planted_twins_and_little_else(audited, planted):
    kinds = ("exact_twin", "near_twin", "cross_class_twin")
    found = {frozenset((r["file"], r["twin_of"])) for r in audited[0] if r["issue"] in kinds}
    true = {frozenset(name.removeprefix("train/") for name in pair) for pair in planted}
    assert len(found & true) >= 0.99 * len(true)
    assert len(found & true) >= 0.85 * len(found)


def test_planted_wrong_labels_come_first_and_auto_hardly_errs(audited, wrong):
    doubts = [row["file"] for row in audited[0] if row["issue"] == "doubtful_label"]
    assert sum(file in wrong for file in doubts[:100]) >= 0.92 * len(wrong)
    with audited[1].open(encoding="utf-8") as file:
        changed = [row["file"] for row in csv.DictReader(file)]
    assert sum(file in wrong for file in changed) >= 0.85 * len(changed)
