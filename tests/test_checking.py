"""Oddities of a submission are reported in three lines, and the previous submission is kept."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import run_prediction

from vlg_fastai.predict import checking
from vlg_fastai.runs.files import write_csv


def answered(category, problem=None):
    photos = pd.DataFrame({"file": [f"{i}.png" for i in range(len(category))], "problem": problem})
    return SimpleNamespace(category=np.array(category, object), photos=photos)


def test_classes_that_never_occur_and_those_that_do_far_too_often_are_named():
    prior = {"a": 0.5, "b": 0.3, "c": 0.2}
    told = checking.shares(np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 20, object), prior)
    assert told == "3 labels predicted; no class is missing; none far too often"
    told = checking.shares(np.array(["a"] * 20 + ["c"] * 80, object), prior)
    assert told == (
        "2 labels predicted; never: b; far more often than in training: c 80 (20 expected of 100"
        " photos)"
    )
    assert "no class is missing" in checking.shares(np.array(["a"], object), prior)


def test_rows_that_changed_are_counted():
    before = pd.DataFrame({"Id": ["1", "2", "3"], "Category": ["a", "b", "c"]})
    after = before.assign(Category=["a", "x", "c"])
    assert checking.changed(before, after) == (
        "1 of 3 rows differ from the previous submission, e.g. 2"
    )
    assert checking.changed(before, before) == "0 of 3 rows differ from the previous submission"
    other = pd.DataFrame({"Id": ["9"], "Category": ["a"]})
    assert "has other photos or columns" in checking.changed(before, other)


def test_what_cannot_be_read_is_counted(capsys):
    checking.check(answered(["a", "b"], [None, "cut off"]), {"a": 0.5, "b": 0.5}, None, None)
    told = capsys.readouterr().out
    assert (
        "the training prior stands in for 1 photo that could not be predicted, e.g. 1.png" in told
    )


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"Id\n1,2,3\n"])
def test_the_submission_before_is_kept_and_no_equal_one(finished_run, tmp_path, damaged, capsys):
    out = tmp_path / "submission.csv"
    out.write_text("Id,Category\n000.png,frog\n")
    run_prediction(finished_run, out, forecast=False)
    told = capsys.readouterr().out
    assert f"kept the previous submission as {tmp_path / 'submission-1.csv'}" in told
    assert (tmp_path / "submission-1.csv").read_text() == "Id,Category\n000.png,frog\n"
    run_prediction(finished_run, out, forecast=False)
    assert "0 of 9 rows differ" in capsys.readouterr().out
    assert not (tmp_path / "submission-2.csv").exists()
    out.write_bytes(damaged)
    run_prediction(finished_run, out, forecast=False)
    assert (tmp_path / "submission-2.csv").read_bytes() == damaged


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"Id": ["a", "b"], "frog": [1 / 3, 0.1], "bear": [2 / 3, 0.9]}),
        pd.DataFrame({"image_id": ["0001", "0002"], "Category": ["007", "nan"]}),
    ],
    ids=["probabilities", "zeros in front"],
)
def test_a_submission_written_twice_differs_in_no_row(tmp_path, table):
    path = tmp_path / "s.csv"
    write_csv(path, table)
    before = checking.as_text(path)
    write_csv(path, table)
    told = checking.changed(before, checking.as_text(path))
    assert told == "0 of 2 rows differ from the previous submission"
