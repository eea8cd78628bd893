"""Reports: built from what the run stored, consistent with it, readable with many classes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.pages import sheet
from vlg_fastai.report import confusion, losses
from vlg_fastai.report.inputs import ReportInputs
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.predictions import HeldOut, held_out


def made(run, **options):
    return {
        path.name for path in interpret(dataclasses.replace(InterpretConfig(), **options), [run])
    }


CONFUSION = {"confusion.png", "confusion.csv", "confused_pairs.csv", "per_class.csv"}
LOSSES = {"top_losses.png", "top_losses.csv"}
MAPS, PAGE = {"gradcam.png"}, {"index.html"}
RELIABILITY = {"reliability.png", "reliability.csv"}


def test_without_a_choice_every_report_is_made(finished_run):
    assert made(finished_run) == CONFUSION | LOSSES | MAPS | RELIABILITY | PAGE


def test_a_named_report_is_the_only_one(finished_run):
    assert made(finished_run, confusion=True) == CONFUSION
    assert made(finished_run, top_losses=()) == LOSSES
    assert made(finished_run, gradcam=(5,)) == MAPS
    assert made(finished_run, reliability=(5,)) == RELIABILITY
    assert made(finished_run, page=True) == PAGE


def test_the_number_of_top_losses_is_taken(finished_run):
    made(finished_run, top_losses=(3,))
    table = pd.read_csv(finished_run.path / "reports" / "top_losses.csv")
    assert len(table) == 3
    assert list(table["loss"]) == sorted(table["loss"], reverse=True)
    assert table["loss"][0] == pytest.approx(held_out(finished_run).losses.max(), abs=1e-4)


def test_the_matrix_adds_up_to_the_held_out_photos(finished_run):
    made(finished_run, confusion=True)
    folder, facts = finished_run.path / "reports", finished_run.facts
    matrix = pd.read_csv(folder / "confusion.csv").iloc[:, 1:].to_numpy()
    assert matrix.sum() == facts.photos["valid"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(facts.accuracy)
    pairs = pd.read_csv(folder / "confused_pairs.csv")
    assert pairs["times"].sum() == matrix.sum() - np.trace(matrix)
    recall = pd.read_csv(folder / "per_class.csv").set_index("class")["recall"]
    assert recall.to_dict() == pytest.approx(facts.recall, abs=1e-6)


def random_held_out(classes, n=400):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(len(classes)), n)
    files = np.array([f"train/{i}.jpg" for i in range(n)])
    return HeldOut(files, rng.integers(0, len(classes), n), probs, classes)


def test_a_matrix_of_forty_classes_is_large_enough_to_read(tmp_path):
    names = [f"class number {i} with $money$ and _lines_" for i in range(40)]
    confusion.write(ReportInputs(random_held_out(names), tmp_path, tmp_path), 5)
    with Image.open(tmp_path / "confusion.png") as image:
        width, height = image.size
    assert min(width, height) > 40 * 30  # a cell of thirty pixels holds a three-digit number


def test_a_class_without_photos_is_blank_and_not_zero(tmp_path):
    held = random_held_out(["a", "b", "c"], 50)
    held = dataclasses.replace(held, y=held.y % 2)
    table = confusion.per_class(held).set_index("class")
    assert np.isnan(table.loc["c", "recall"])
    assert table.loc["c", "photos"] == 0


def test_the_worst_losses_show_near_duplicates_once():
    files, y = np.array([f"{i}.jpg" for i in range(5)]), np.zeros(5, int)
    probs = np.array([[0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
    held = HeldOut(files, y, probs, ["a", "b"], np.array([7, 8, 7, 9, 8]))
    assert losses.worst(held, 9)[1]["file"].tolist() == ["0.jpg", "1.jpg", "3.jpg"]
    assert losses.worst(held, 2)[0].tolist() == [0, 1]
    alone = HeldOut(files, y, probs, ["a", "b"])
    assert losses.worst(alone, 9)[0].tolist() == [0, 2, 1, 4, 3]


def test_a_photo_that_is_gone_leaves_a_grey_place(tmp_path, capsys):
    held = random_held_out(["a", "b"], 5)
    given = ReportInputs(held, tmp_path, tmp_path, lambda paths, targets: [None] * len(paths))
    losses.write(given, 5)
    assert "5 of 5 photos are not in" in capsys.readouterr().out
    assert sheet.thumbnail(tmp_path / "train/0.jpg").getpixel((9, 9)) == sheet.MISSING
    assert (tmp_path / "top_losses.png").stat().st_size > 5000


def test_class_names_that_are_columns_of_ours_do_no_harm(tmp_path):
    import json

    from vlg_fastai.runs.run import Run

    (tmp_path / "facts.json").write_text(
        json.dumps({"status": "finished", "classes": ["file", "label", "nan"]})
    )
    (tmp_path / "valid.csv").write_text("file,label,file,label,nan\nx.jpg,nan,0.1,0.2,0.7\n")
    held = held_out(Run(tmp_path))
    assert held.y.tolist() == [2]
    assert held.probs.tolist() == [[0.1, 0.2, 0.7]]


def test_a_run_without_held_out_photos_has_nothing_to_report(tmp_path):
    import json

    from vlg_fastai.runs.run import Run

    (tmp_path / "facts.json").write_text(json.dumps({"status": "finished", "classes": ["a", "b"]}))
    (tmp_path / "valid.csv").write_text("file,label,a,b\n")
    with pytest.raises(UserError, match="held out no photos"):
        held_out(Run(tmp_path))


def test_the_confusion_matrix_needs_no_model(finished_run, tmp_path):
    import shutil

    from vlg_fastai.runs.run import Run

    copy = shutil.copytree(finished_run.path, tmp_path / "0001-copy")
    (copy / "model.safetensors").unlink()
    assert made(Run(copy), confusion=True) == CONFUSION
