"""Run folders: found by number, name or path, finished ones first, written whole or not at all."""

import json
import shutil

import pandas as pd
import pytest

from vlg_fastai import commands
from vlg_fastai.config import UserError
from vlg_fastai.runs.files import UMASK, check_page, replacing, write_json
from vlg_fastai.runs.find import find, finished, newest
from vlg_fastai.runs.run import Run, create


def made(root, name, status="finished"):
    run = create(root, name)
    if status:
        told = {"status": status, "classes": ["a", "b"], "view": {"size": 8}}
        write_json(run.path / "facts.json", told)
    return run


def test_the_newest_finished_run_is_taken(tmp_path):
    made(tmp_path, "a")
    second = made(tmp_path, "b")
    made(tmp_path, "c", "interrupted")
    made(tmp_path, "d", None)
    assert find(tmp_path, ()) == [second]


def test_an_interrupted_run_is_taken_where_no_other_is_and_said(tmp_path, capsys):
    only = made(tmp_path, "a", "interrupted")
    assert find(tmp_path, ()) == [only]
    assert "(interrupted)" in capsys.readouterr().out


def test_the_order_is_by_number_and_not_by_text(tmp_path):
    for number in (9998, 9999):
        (tmp_path / f"{number}-x").mkdir()
        write_json(tmp_path / f"{number}-x" / "facts.json", {"status": "finished"})
    assert made(tmp_path, "x").path.name == "10000-x"
    assert newest(tmp_path).path.name == "10000-x"


def test_a_run_answers_to_number_name_and_path(tmp_path):
    made(tmp_path, "a")
    second = made(tmp_path, "b")
    for name in ("2", "0002", "0002-b", str(second.path)):
        assert find(tmp_path, (name,)) == [second]
    assert len(find(tmp_path, ("1", "2"))) == 2


def test_what_cannot_be_used_is_named(tmp_path):
    made(tmp_path, "good")
    made(tmp_path, "half", None)
    with pytest.raises(UserError, match="--run 7: no such run .* usable: 0001-good"):
        find(tmp_path, ("7",))
    with pytest.raises(UserError, match="--run 2: .* is unfinished and has nothing to use"):
        find(tmp_path, ("2",))
    with pytest.raises(UserError, match="no usable run; train one"):
        find(tmp_path / "empty", ())


def test_names_are_fit_for_a_file_system(tmp_path):
    assert made(tmp_path, "../my run: *").path.name == "0001-my_run"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as beside:
            beside.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_no_number_is_written_as_null(tmp_path):
    import numpy as np

    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [np.float32(1), np.int64(2)]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.0, 2]}


def test_what_a_killed_writer_left_is_swept_and_what_another_writes_now_is_not(tmp_path):
    import os

    old, new = (tmp_path / f".x.{pid}.part.json" for pid in (1, 2))
    for left in (old, new):
        left.write_text("{")
    os.utime(old, (0, 0))
    write_json(tmp_path / "x.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "x.json"]


def test_a_damaged_facts_file_is_named(tmp_path, capsys):
    run = made(tmp_path, "a")
    (run.path / "facts.json").write_text("{")
    with pytest.raises(UserError, match="no usable run"):
        newest(tmp_path)
    assert "cannot read facts.json" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["null", "[]", "3", '"x"', "[" * 100_000])
@pytest.mark.parametrize("name", ["facts.json", "config.json"])
def test_a_file_that_holds_no_object_is_named(tmp_path, content, name):
    run = made(tmp_path, "a")
    (run.path / name).write_text(content)
    with pytest.raises(UserError, match=rf"0001-a: cannot read {name}"):
        (run.facts if name == "facts.json" else run.config)  # noqa: B018


def test_what_is_written_may_be_read_by_whom_the_user_lets(tmp_path):
    import torch
    from safetensors.torch import save_file

    with replacing(tmp_path / "model.safetensors") as beside:
        save_file({"x": torch.zeros(2)}, beside)
    write_json(tmp_path / "x.json", {})
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~UMASK}


def test_a_reference_that_is_not_there_is_named_by_its_own_option(tmp_path):
    made(tmp_path, "a")
    with pytest.raises(UserError, match="--against 9: no such run"):
        finished(tmp_path, (), "9")


ODD_FACTS = [
    ({"status": 5}, "status"), ({"candidates": "x"}, "candidates"), ({"photos": 3}, "photos"),
    ({"accuracy": "high"}, "accuracy"), ({"view": []}, "view"), ({"classes": [1, 2]}, "classes"),
    ({"recall": None}, "recall"), ({"nested": 3}, "nested"), ({"members": [3]}, "members"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "named"), ODD_FACTS, ids=[named for _, named in ODD_FACTS])
def test_facts_of_other_types_are_named_and_cost_that_run_alone(
    finished_run, tmp_path, capsys, odd, named
):
    for number in (1, 2):
        shutil.copytree(finished_run.path, tmp_path / f"000{number}-copy")
    facts = tmp_path / "0002-copy" / "facts.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), **odd}))
    assert newest(tmp_path).path.name == "0001-copy"
    assert [run.path.name for run in finished(tmp_path, ())[0]] == ["0001-copy"]
    assert f"left out: --run {tmp_path / '0002-copy'}: facts.json" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"facts.json is damaged \({named}"):
        find(tmp_path, ["2"])[0].facts  # noqa: B018


def test_options_that_are_newer_than_a_run_are_as_if_not_given(finished_run, tmp_path):
    shutil.copytree(finished_run.path, tmp_path / "0001-copy")
    (tmp_path / "0001-copy" / "config.json").write_text('{"seed": 7}')
    config = Run(tmp_path / "0001-copy").config
    assert (config["seed"], config["targets"], config["valid_pct"]) == (7, "given", 0.15)


def test_a_split_that_lacks_a_column_is_named(finished_run, tmp_path):
    folder = shutil.copytree(finished_run.path, tmp_path / "0001-x")
    table = pd.read_csv(folder / "split.csv").rename(columns={"file": "f\x7fle"})
    table.to_csv(folder / "split.csv", index=False)
    with pytest.raises(UserError, match="split.csv is damaged: no column file"):
        Run(folder).split  # noqa: B018


def test_an_unfinished_run_that_is_newer_than_the_one_taken_is_named(tmp_path, capsys):
    made(tmp_path, "old")
    made(tmp_path, "new", "unfinished")
    made(tmp_path, "tried", "dry run")
    assert newest(tmp_path).number == 1
    told = capsys.readouterr().out
    assert f"0002-new is newer, but unfinished; use it with --run 2 --runs {tmp_path}" in told
    assert "tried" not in told


def test_a_page_of_someone_else_is_not_replaced(tmp_path):
    check_page(tmp_path, "issues.csv", "--out here")
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UserError, match="--out here: holds an index.html of something else"):
        check_page(tmp_path, "issues.csv", "--out here")
    (tmp_path / "issues.csv").write_text("")
    check_page(tmp_path, "issues.csv", "--out here")


@pytest.mark.parametrize("command", ["audit", "tune"])
def test_commands_that_write_a_page_look_whose_there_is(toy, tmp_path, command, capsys):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SystemExit):
        getattr(commands, command)(["--data", str(toy), "--out", str(tmp_path)])
    assert f"--out {tmp_path}: holds an index.html" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
