"""Where photos are searched for, and what is reported if there are none."""

import os
import shutil

import pytest

from vlg_fastai.config import BUNDLED_ARCH, DEMO, TrainConfig, UserError
from vlg_fastai.data import folder, scan, walking
from vlg_fastai.demo import challenge
from vlg_fastai.generate import plan
from vlg_fastai.runs.run import EXPORTED


def lay(root, *files):
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(paths):
    return [path.name for path in paths]


def test_train_and_test_folders_are_found(tmp_path):
    found = folder.layout(lay(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/9.jpg"))
    assert (found.train, found.test) == (tmp_path / "train", tmp_path / "test")
    assert names(found.classes) == ["cat", "dog"]


def test_class_folders_may_lie_directly_in_the_folder(tmp_path):
    found = folder.layout(lay(tmp_path, "cat/1.jpg", "dog/1.jpg", "test/9.jpg"))
    assert names(found.classes) == ["cat", "dog"]
    assert found.test == tmp_path / "test"
    lay(tmp_path, "val/cat/2.jpg")
    assert folder.layout(tmp_path).valid == tmp_path / "val"


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_a_validation_folder_is_found(tmp_path, valid):
    found = folder.layout(lay(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", f"{valid}/cat/2.jpg"))
    assert found.valid == tmp_path / valid


def test_doubled_folders_are_stepped_through(tmp_path):
    made = lay(tmp_path, "zoo/zoo/train/train/cat/1.jpg", "zoo/zoo/train/train/dog/1.jpg",
               "zoo/zoo/test/test/1.jpg")  # fmt: skip
    found = folder.layout(made)
    assert found.train == tmp_path / "zoo/zoo/train/train"
    assert found.test == tmp_path / "zoo/zoo/test/test"


def test_class_names_stay_as_they_are(tmp_path):
    found = folder.layout(lay(tmp_path, "train/blue+whale/1.jpg", "train/Höhlen bär/1.jpg"))
    assert set(names(found.classes)) == {"blue+whale", "Höhlen bär"}


def test_photos_are_sorted_and_other_files_counted(tmp_path):
    lay(tmp_path, "b.JPG", "a.webp", "deep/c.TIF", "notes.txt", ".hidden.jpg", "__MACOSX/._a.jpg")
    found, others, _ = folder.photos(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.webp",
        "b.JPG",
        "deep/c.TIF",
    ]
    assert others == 1


def test_a_missing_folder_and_one_without_classes_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"--data .*nowhere: no such folder"):
        folder.layout(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no class folders; expected"):
        folder.layout(lay(tmp_path, "lonely.jpg"))


def test_data_is_the_default_where_it_holds_photos(in_empty_folder):
    assert folder.choose(None) == folder.DEMO_FOLDER
    lay(in_empty_folder / "data", "demo/demo.json", "demo/train/cat/1.jpg")
    assert folder.choose(None) == folder.DEMO_FOLDER
    lay(in_empty_folder / "data", "cat/1.jpg")
    assert folder.choose(None) == folder.DEFAULT


def test_the_demo_brings_its_own_defaults_and_other_folders_do_not(in_empty_folder):
    assert folder.defaults_for(TrainConfig()) == DEMO
    assert DEMO["arch"] == BUNDLED_ARCH
    lay(in_empty_folder / "data", "train/cat/1.jpg", "train/dog/1.jpg")
    assert folder.defaults_for(TrainConfig()) == {}


def test_a_challenge_unpacked_beside_the_demo_is_found(in_empty_folder):
    lay(in_empty_folder / "data", "demo/demo.json", "vlg/train/cat/1.jpg", "vlg/train/dog/1.jpg")
    assert folder.layout(folder.DEFAULT).train == folder.DEFAULT / "vlg/train"


def test_the_demo_is_no_class_of_the_folder_it_lies_in(in_empty_folder):
    lay(
        in_empty_folder / "data", "cat/1.jpg", "dog/1.jpg", "demo/demo.json", "demo/train/cat/1.jpg"
    )
    assert names(folder.layout(folder.DEFAULT).classes) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("train", "test"),
    [("training_set", "test_set"), ("seg_train", "seg_test"), ("Train-Images", "Test-Images"),
     ("train_data", "test_data"), ("trainset", "testset")],
)  # fmt: skip
def test_sides_are_understood_under_any_usual_pair_of_names(tmp_path, train, test):
    lay(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/1.jpg", f"{test}/9.jpg")
    found = folder.layout(tmp_path)
    assert (found.train, found.test) == (tmp_path / train, tmp_path / test)
    assert names(found.classes) == ["cat", "dog"]


def test_a_pair_without_class_folders_is_refused_and_makes_no_two_classes(tmp_path):
    lay(tmp_path, "train_images/1.jpg", "test_images/2.jpg")
    with pytest.raises(UserError, match="train_images next to test_images looks like the training"):
        folder.layout(tmp_path)


def test_a_test_folder_of_another_name_beside_train_is_found(tmp_path):
    lay(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test1/9.jpg")
    assert folder.layout(tmp_path).test == tmp_path / "test1"


def test_classes_whose_names_hold_such_words_stay_classes(tmp_path):
    lay(tmp_path, "train_station/1.jpg", "test_tube/1.jpg", "harbour/1.jpg")
    assert names(folder.layout(tmp_path).classes) == ["harbour", "test_tube", "train_station"]


@pytest.mark.parametrize(
    "left", ["runs/0001-toy/config.json", "audit/issues.csv", "unknown/unknown.csv",
             "cache/pixels-0123456789abcdef/1.index.npy"]
)  # fmt: skip
def test_what_our_commands_wrote_into_the_data_is_no_class(tmp_path, left):
    lay(tmp_path, "cat/1.jpg", "dog/1.jpg", left, f"{left.split('/')[0]}/pictures/1.jpg")
    assert names(folder.layout(tmp_path).classes) == ["cat", "dog"]


def test_generated_photos_and_exports_are_no_classes(tmp_path):
    table = plan.Ledger(tmp_path / "extra/source.csv", [])
    table.note(plan.Wish("owl", 0, "an owl"), 1, "drawn", "")
    lay(tmp_path, "cat/1.jpg", "dog/1.jpg", f"extra/{table.rows[0]['file']}")
    assert EXPORTED in walking.EXPORT
    for export in ("export/0001-toy", "export/mine", "shared"):
        parts = (*walking.EXPORT, "samples/01.jpg")
        lay(tmp_path, *(f"{export}/{name}" for name in parts))
    assert names(folder.layout(tmp_path).classes) == ["cat", "dog"]


def test_a_class_with_files_called_like_ours_stays_a_class(tmp_path):
    lay(
        tmp_path, "a/source.csv", "a/2024/1.jpg", "b/1.jpg", "b/raw/preprocess.json", "b/trials.csv"
    )
    lay(tmp_path, "c/1.jpg", "c/raw/preprocess.json", "c/raw/labels.txt", "d/preprocess.json")
    lay(tmp_path, "d/1.jpg")
    assert names(folder.layout(tmp_path).classes) == ["a", "b", "c", "d"]


def test_data_in_a_folder_of_its_own_is_found_beside_a_table_or_an_export(tmp_path):
    lay(tmp_path, "animals/source.csv", "animals/cat/1.jpg", "animals/dog/1.jpg")
    lay(tmp_path, "animals/shared/preprocess.json", "animals/shared/labels.txt")
    assert names(folder.layout(tmp_path).classes) == ["cat", "dog"]


def test_the_folders_a_command_is_told_to_write_to_are_no_classes(tmp_path):
    lay(tmp_path, "cat/1.jpg", "dog/1.jpg", "mine/old.jpg", "kept/old.jpg")
    cfg = TrainConfig(data=tmp_path, runs=tmp_path / "mine", cache=tmp_path / "kept")
    assert names(challenge.layout_of(cfg).classes) == ["cat", "dog"]


@pytest.mark.parametrize("place", ["cat", "cat/runs", "test/runs"])
def test_a_command_writes_among_no_photos(tmp_path, place):
    lay(tmp_path, "cat/1.jpg", "dog/1.jpg", "test/9.jpg")
    cfg = TrainConfig(data=tmp_path, runs=tmp_path / place)
    if place == "cat":  # a folder given as --runs is not a class
        assert names(challenge.layout_of(cfg).classes) == ["dog"]
        return
    with pytest.raises(UserError, match=r"--runs .*: is inside a folder of photos"):
        challenge.layout_of(cfg)


def test_a_folder_that_is_not_entered_is_said(tmp_path, capsys, monkeypatch):
    lay(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "train/dog/secret/2.jpg", "more/2.jpg")
    (tmp_path / "train/cat/more").symlink_to(tmp_path / "more")
    scandir = os.scandir

    def guarded(path):
        if "secret" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    table = scan.scan_classes(folder.layout(tmp_path))
    assert list(table["file"]) == ["train/cat/1.jpg", "train/dog/1.jpg"]
    told = capsys.readouterr().out
    assert f"{tmp_path / 'train/cat/more'}: left out with everything in it: a link" in told
    assert f"{tmp_path / 'train/dog/secret'}: left out with everything in it: Permission" in told


def test_names_that_a_spreadsheet_would_run_are_said_once(tmp_path, capsys):
    lay(tmp_path, "test/=cmd().jpg", "test/@x.jpg", "test/plain.jpg")
    scan.scan_files(tmp_path / "test")
    assert capsys.readouterr().out.count("2 names begin like a formula, e.g. =cmd().jpg") == 1


def test_a_table_beside_class_folders_is_not_ignored_in_silence(toy, tmp_path, capsys):
    data = shutil.copytree(toy, tmp_path / "data")
    (data / "train.csv").write_text("id,label\n1,frog\n")
    (data / "sample_submission.csv").write_text("id,label\n")
    assert folder.layout(data).labels is None
    told = capsys.readouterr().out
    assert "train.csv is not read" in told
    assert "sample_submission" not in told
