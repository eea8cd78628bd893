"""The drawn challenge: the same from the same seed, whole or absent, in the shape of a real one."""

import csv

from conftest import run_training, toy_config

from vlg_fastai.data import demo, folder, scan


def bits(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}


def test_the_same_seed_draws_the_same_challenge(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TESTS", 4)
    monkeypatch.setattr(demo, "SPECIES", dict(list(demo.SPECIES.items())[:2]))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        demo.draw(tmp_path / name, seed)
    assert bits(tmp_path / "a") == bits(tmp_path / "b") != bits(tmp_path / "c")
    assert not list(tmp_path.glob(".*"))


def test_it_has_the_shape_of_a_challenge(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TESTS", 6)
    monkeypatch.setattr(demo, "FEWEST", 2)
    monkeypatch.setattr(demo, "MOST", 4)
    demo.draw(tmp_path / "demo")
    layout = folder.layout(tmp_path / "demo")
    assert layout.is_demo
    assert len(layout.classes) == len(demo.SPECIES) == 12
    files, others = folder.photos(layout.test)
    with (layout.root / "sample_submission.csv").open(encoding="utf-8") as file:
        ids = [row["Id"] for row in csv.DictReader(file)]
    assert ids == [path.name for path in files]
    assert len(ids) == 6
    assert others == 0
    assert scan.scan_classes(layout)["problem"].isna().all()


def test_it_is_drawn_where_no_data_is_and_said(in_empty_folder, monkeypatch, capsys):
    monkeypatch.setattr(demo, "FEWEST", 4)
    monkeypatch.setattr(demo, "MOST", 6)
    monkeypatch.setattr(demo, "TESTS", 3)
    run = run_training(toy_config(None, in_empty_folder / "runs"))
    told = capsys.readouterr().out
    assert "using the drawn challenge in data/demo, with --arch test_efficientnet --size 32" in told
    assert len(run.facts["classes"]) == 12
