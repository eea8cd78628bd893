"""Decisions on photos: keyed by content and folder, applied by every command, no photo touched."""

import pandas as pd
import pytest
from conftest import draw_folder, run_prediction, run_training, toy_config

from vlg_fastai.config import UserError
from vlg_fastai.data import decisions
from vlg_fastai.data.images import content_hash


def table(*rows):
    return pd.DataFrame(
        [{"content": c, "label": label, "problem": None} for c, label in rows]
    ).astype({"problem": object})


def decided(tmp_path, *rows):
    path = tmp_path / "d.csv"
    decisions.append(path, [dict(zip(decisions.COLUMNS, row, strict=False)) for row in rows])
    return decisions.read(path)


def test_labels_change_photos_drop_and_the_rest_stays(tmp_path):
    made = decided(
        tmp_path, ("1", "ox", "relabel", "fox"), ("2", "ox", "drop"), ("3", "fox", "keep")
    )
    found = made.replayed(table(("1", "ox"), ("2", "ox"), ("3", "fox"), ("1", "fox"), ("4", "ox")))
    assert list(found["label"]) == ["fox", "ox", "fox", "fox", "ox"]
    assert list(found["folder"]) == ["ox", "ox", "fox", "fox", "ox"]
    assert list(found["problem"].notna()) == [False, True, False, False, False]


def test_of_equal_files_in_a_folder_one_stays(tmp_path):
    made = decided(tmp_path, ("1", "ox", "once"))
    found = made.replayed(table(("1", "ox"), ("1", "ox"), ("1", "fox"), ("1", "ox")))
    assert list(found["problem"].notna()) == [False, True, False, True]


def test_the_last_decision_holds_and_can_be_undone(tmp_path):
    made = decided(
        tmp_path, ("1", "ox", "drop"), ("2", "ox", "drop"), ("1", "ox", "keep"), ("2", "ox", "undo")
    )
    assert {key: d.action for key, d in made.made.items()} == {("1", "ox"): "keep"}


def test_a_label_that_no_photo_has_is_said_and_not_given(tmp_path, capsys):
    made = decided(tmp_path, ("1", "ox", "relabel", "yak"))
    assert list(made.replayed(table(("1", "ox"), ("2", "fox")))["label"]) == ["ox", "fox"]
    assert "1 labels match no class here, e.g. 'yak'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [("content,label,action\n1,ox,burn\n", "line 2: 'burn' is not one of"),
     ("content,label,action\n1,,keep\n", "line 2 has no label"),
     ("content,label,action\n1,ox,relabel\n", "relabel needs a new_label"),
     ("a,b\n1,2\n", "line 2 has no content")],
)  # fmt: skip
def test_a_line_that_cannot_be_meant_is_told(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        decisions.read(tmp_path / "d.csv")


def test_the_file_lies_beside_the_photos_or_here_where_these_are_read_only(tmp_path, monkeypatch):
    assert decisions.find(None, tmp_path) == tmp_path / "decisions.csv"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert decisions.find(None, tmp_path).as_posix() == "decisions.csv"
    (tmp_path / "decisions.csv").touch()
    assert decisions.find(None, tmp_path) == tmp_path / "decisions.csv"
    assert decisions.find(tmp_path / "x", tmp_path) == tmp_path / "x"


def test_training_and_prediction_replay_decisions_and_leave_every_photo(tmp_path, capsys):
    data = draw_folder(
        tmp_path / "data", {"blue+whale": 12, "frog": 12, "höhlen bär": 22}, tests=24
    )
    photos = {path: path.read_bytes() for path in data.rglob("*.png")}
    wrong = data / "train/frog/00.png"
    wrong.rename(wrong.with_name("renamed.png"))  # decisions survive a rename
    gone = data / "train/frog/01.png"
    rows = [
        {"content": content_hash(photos[path]), "label": "frog", "action": action,
         "new_label": label, "file": path.name}
        for path, action, label in ((wrong, "relabel", "blue+whale"), (gone, "drop", ""))
    ]  # fmt: skip
    decisions.append(data / "decisions.csv", rows)
    trained = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64, "epochs": 0}
    run = run_training(toy_config(data, tmp_path / "runs", **trained))
    assert (
        f"decisions: 1 relabel, 1 drop (2 in {data / 'decisions.csv'})" in capsys.readouterr().out
    )
    split = pd.read_csv(run.path / "split.csv").set_index("file")
    assert split.loc["train/frog/renamed.png", "label"] == "blue+whale"
    assert split.loc["train/frog/renamed.png", "folder"] == "frog"
    assert split.loc["train/frog/01.png", "problem"] == decisions.DROPPED
    run_prediction(run, tmp_path / "s.csv")
    told = capsys.readouterr().out
    assert "decisions: 1 relabel, 1 drop (2 in" in told
    assert "retrain" not in told
    decisions.append(data / "decisions.csv", [{**rows[0], "action": "undo", "new_label": ""}])
    run_prediction(run, tmp_path / "s.csv")
    assert "1 of these decisions changed since the run was trained" in capsys.readouterr().out
    wrong.with_name("renamed.png").rename(wrong)
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == photos


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"content,label,action\n1,ox,ke\0ep\n", "NUL bytes"),
     (b"\0" * 40, "NUL bytes"),
     ("content,label,action\n1,ox,keep\n".encode("utf-16"), "NUL bytes"),
     (b"content;label;action\n1;ox;keep\n", "uses semicolons as separators"),
     (b"content;label;action\n", "uses semicolons as separators"),
     (b"photo,verdict\n", "needs the columns content, label, action")],
)  # fmt: skip
def test_a_file_that_holds_no_decisions_is_said_and_not_taken_for_none(tmp_path, content, message):
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        decisions.read(tmp_path / "d.csv")


def test_an_empty_file_of_decisions_has_none(tmp_path):
    (tmp_path / "d.csv").write_text("")
    assert len(decisions.read(tmp_path / "d.csv")) == 0


def test_what_a_person_decided_meanwhile_stands_against_an_automatic_decision(tmp_path):
    made = decided(tmp_path, ("1", "ox", "keep"))
    rows = [dict(zip(decisions.COLUMNS, (n, "ox", "relabel", "fox"), strict=False)) for n in "12"]
    assert decisions.append_undecided(made.path, rows) == rows[1:]
    found = {key[0]: made.action for key, made in decisions.read(made.path).made.items()}
    assert found == {"1": "keep", "2": "relabel"}


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c", "\x1c", "\n", "\r"])
def test_a_name_with_any_kind_of_line_break_is_read_back(tmp_path, odd):
    path = tmp_path / "decisions.csv"
    label = f"sea{odd}lion"
    row = {"content": "x" * 32, "label": label, "action": "drop"}
    decisions.append(path, [row, {**row, "content": "y" * 32}])
    assert set(decisions.read(path).made) == {("x" * 32, label), ("y" * 32, label)}
