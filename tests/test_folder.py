"""Where photos are looked for, and what is said where there are none."""

import pytest

from vlg_fastai.config import BUNDLED_ARCH, DEMO, TrainConfig, UserError
from vlg_fastai.data import folder


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
    found, others = folder.photos(tmp_path)
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
