"""Submissions: a row for every file, the sample's header, ids and order, the same bytes again."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_prediction, run_training, toy_config

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.predict import submission
from vlg_fastai.predict.onscreen import classify
from vlg_fastai.predict.run import again
from vlg_fastai.runs.find import twins_among
from vlg_fastai.runs.run import Run


@pytest.fixture
def test_photos(toy, tmp_path):
    "A copy of the toy test folder to spoil."
    return shutil.copytree(toy / "test", tmp_path / "challenge" / "test")


def rows(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def write_sample(folder, ids, header=("image_id", "class"), name="sample_submission.csv"):
    pd.DataFrame([(i, "frog") for i in ids], columns=header).to_csv(folder / name, index=False)


def test_a_second_submission_in_a_folder_leaves_what_is_said_of_the_first(finished_run, tmp_path):
    for _ in range(2):  # the second time each overwrites its own files
        run_prediction(finished_run, tmp_path / "one.csv")
        run_prediction(finished_run, tmp_path / "two.csv", forecast=False)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"one.csv", "probabilities.csv", "forecast.json", "two.csv",
                     "two.probabilities.csv"}  # fmt: skip


@pytest.mark.parametrize("name", ["blend.json", "forecast.json", "probabilities.csv"])
def test_files_of_the_user_beside_a_first_submission_stay(finished_run, tmp_path, name):
    (tmp_path / name).write_text("mine")
    for _ in range(2):
        run_prediction(finished_run, tmp_path / "submission.csv", forecast=False)
    assert (tmp_path / name).read_text() == "mine"
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"submission.csv", "submission.probabilities.csv", name}


def test_every_test_file_has_a_row_in_order(finished_run, tmp_path):
    table = rows(run_prediction(finished_run, tmp_path / "submission.csv"))
    assert list(table.columns) == ["Id", "Category"]
    assert list(table["Id"]) == [f"{n:03d}.png" for n in range(9)]
    assert set(table["Category"]) <= set(finished_run.facts.classes)


def test_the_model_tells_the_toy_classes_apart(finished_run):
    assert finished_run.facts.accuracy > 0.6


def test_predicting_twice_gives_the_same_bytes(finished_run, tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_prediction(finished_run, tmp_path / name / "submission.csv")
        files.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_validation_photos_are_predicted_as_they_were_in_training(finished_run, toy, tmp_path):
    run_prediction(finished_run, tmp_path / "s.csv", test=toy / "train")
    classes = finished_run.facts.classes
    now = pd.read_csv(tmp_path / "probabilities.csv").set_index("file")[classes]
    then = pd.read_csv(finished_run.path / "valid.csv").set_index("file")[classes]
    then.index = [file.removeprefix("train/") for file in then.index]
    assert np.allclose(now.loc[then.index], then, atol=1e-4)


def test_a_broken_file_gets_the_training_prior_and_costs_no_other_row(
    finished_run, test_photos, tmp_path, capsys
):
    plain = rows(run_prediction(finished_run, tmp_path / "a.csv", test=test_photos))
    (test_photos / "003.png").write_bytes(b"rubbish")
    (test_photos / "empty.jpg").write_bytes(b"")
    spoilt = rows(run_prediction(finished_run, tmp_path / "a.csv", test=test_photos))
    assert len(spoilt) == 10
    same = plain["Id"] != "003.png"
    merged = plain[same].merge(spoilt, on="Id")
    assert (merged["Category_x"] == merged["Category_y"]).all()
    told = pd.read_csv(tmp_path / "probabilities.csv").set_index("file")
    assert told.loc["empty.jpg", "problem"] == "empty file"
    prior = told.loc["003.png", finished_run.facts.classes].to_numpy(float)
    assert np.allclose(prior, finished_run.facts.prior, atol=1e-6)
    assert "2 of 10 files cannot be read" in capsys.readouterr().out


def test_a_folder_of_broken_files_alone_is_answered_with_the_prior(finished_run, tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.jpg").write_bytes(b"x")
    assert len(rows(run_prediction(finished_run, tmp_path / "s.csv", test=tmp_path / "test"))) == 1


def test_the_samples_header_ids_and_order_are_taken(finished_run, test_photos, tmp_path):
    ids = [f"{n:03d}" for n in (4, 2, 0, 1, 3, 5, 8, 7, 6)]
    write_sample(test_photos.parent, ids)
    table = rows(run_prediction(finished_run, tmp_path / "s.csv", test=test_photos))
    assert list(table.columns) == ["image_id", "class"]
    assert list(table["image_id"]) == ids
    plain = pd.read_csv(tmp_path / "probabilities.csv", dtype={"Id": str})
    assert list(plain["file"]) == [f"{i}.png" for i in ids]
    assert list(plain["category"]) == list(table["class"])


@pytest.mark.parametrize("form", ["{n}.png", "test/{n}.png", "{n}"])
def test_ids_are_matched_by_path_name_or_stem(finished_run, test_photos, tmp_path, form):
    ids = [form.format(n=f"{n:03d}") for n in range(8, -1, -1)]
    write_sample(test_photos.parent, ids, name="sample.csv")
    table = rows(run_prediction(finished_run, tmp_path / "s.csv", test=test_photos))
    assert list(table["image_id"]) == ids


def test_an_id_without_a_photo_refuses_the_file(finished_run, test_photos, tmp_path):
    write_sample(test_photos.parent, ["000", "nowhere"])
    with pytest.raises(UserError, match="1 of 2 Ids have no photo .* nowhere"):
        run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)
    assert not (tmp_path / "s.csv").exists()


def test_an_id_that_could_mean_two_photos_is_an_error():
    sample = pd.DataFrame({"Id": ["1.jpg"]})
    with pytest.raises(UserError, match="matches several photos by its name"):
        submission.order(sample, ["a/1.jpg", "b/1.jpg"], "test")


def test_photos_without_an_id_stay_in_the_probabilities(
    finished_run, test_photos, tmp_path, capsys
):
    write_sample(test_photos.parent, ["000", "001"])
    table = rows(run_prediction(finished_run, tmp_path / "s.csv", test=test_photos))
    assert len(table) == 2
    assert len(pd.read_csv(tmp_path / "probabilities.csv")) == 9
    assert "without an Id in the sample: 7 photos" in capsys.readouterr().out


def test_a_sample_with_a_column_a_class_gets_probabilities(finished_run, test_photos, tmp_path):
    header = ("id", *reversed(finished_run.facts.classes))
    ids = [f"{n:03d}" for n in range(9)]
    pd.DataFrame([(i, 0, 0, 0) for i in ids], columns=header).to_csv(
        test_photos.parent / "sample_submission.csv", index=False
    )
    run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)
    table = pd.read_csv(tmp_path / "s.csv", dtype={"id": str})
    assert tuple(table.columns) == header
    assert np.allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)


def two_samples(folder):
    write_sample(folder, ["000"])
    write_sample(folder, ["000"], name="sample.csv")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: write_sample(folder, ["000", "000"]), "occurs twice"),
        (lambda folder: write_sample(folder, []), "has no rows"),
        (two_samples, "several files match"),
    ],
)
def test_a_sample_that_cannot_be_followed_is_said(
    finished_run, test_photos, tmp_path, spoil, message
):
    spoil(test_photos.parent)
    with pytest.raises(UserError, match=message):
        run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)


def test_several_runs_are_averaged(finished_run, toy, tmp_path):
    other = run_training(toy_config(toy, tmp_path, seed=9))
    classes = finished_run.facts.classes
    tables = []
    for i, chosen in enumerate(([finished_run], [other], [finished_run, other])):
        run_prediction(chosen, tmp_path / str(i) / "s.csv")
        tables.append(pd.read_csv(tmp_path / str(i) / "probabilities.csv")[classes].to_numpy())
    assert np.allclose((tables[0] + tables[1]) / 2, tables[2], atol=1e-5)


def test_runs_of_other_classes_are_not_averaged():
    from vlg_fastai.predict.known import average

    with pytest.raises(UserError, match="different classes"):
        average([(np.eye(2), ["a", "b"]), (np.eye(2), ["a", "c"])])
    mean, classes = average(
        [(np.array([[0.8, 0.2]]), ["a", "b"]), (np.array([[0.4, 0.6]]), ["b", "a"])]
    )
    assert classes == ["a", "b"]
    assert np.allclose(mean, [[0.7, 0.3]])


def test_mirroring_changes_the_answer_and_says_whether_it_helped(finished_run, tmp_path, capsys):
    for name, tta in (("plain", False), ("tta", True)):
        run_prediction(finished_run, tmp_path / name / "s.csv", tta=tta)
    told = capsys.readouterr().out
    assert "--tta helped" in told or "--tta did not help" in told
    p = [pd.read_csv(tmp_path / name / "probabilities.csv")["p"] for name in ("plain", "tta")]
    assert not np.allclose(*p)


def test_a_mirrored_photo_has_the_same_answer_with_tta(finished_run, tmp_path):
    from PIL import Image, ImageOps

    folder = tmp_path / "test"
    folder.mkdir()
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    image.save(folder / "a.png")
    ImageOps.mirror(image).save(folder / "b.png")
    run_prediction(finished_run, tmp_path / "s.csv", test=folder, tta=True)
    table = pd.read_csv(tmp_path / "probabilities.csv")[finished_run.facts.classes].to_numpy()
    assert np.allclose(table[0], table[1], atol=1e-4)


def test_a_test_folder_that_is_not_there_is_named(finished_run, tmp_path):
    with pytest.raises(UserError, match="no folder `test` in"):
        run_prediction(finished_run, tmp_path / "s.csv", data=tmp_path)


def test_a_damaged_model_file_is_named(finished_run, tmp_path):
    from vlg_fastai.runs.run import Run

    copy = shutil.copytree(finished_run.path, tmp_path / "0001-copy")
    (copy / "model.safetensors").write_bytes(b"half a model")
    with pytest.raises(UserError, match="0001-copy: its model cannot be rebuilt"):
        run_prediction(Run(copy), tmp_path / "s.csv")


def test_the_sample_of_the_training_folder_is_not_for_other_photos(toy, finished_run, tmp_path):
    import shutil

    challenge = shutil.copytree(toy, tmp_path / "challenge")
    write_sample(challenge, ["000", "001"])
    other = shutil.copytree(toy / "test", tmp_path / "other" / "photos")
    (other / "008.png").rename(other / "new.png")
    own = run_prediction(finished_run, tmp_path / "own.csv", data=challenge)
    assert list(rows(own).columns) == ["image_id", "class"]
    new = run_prediction(finished_run, tmp_path / "new.csv", data=challenge, test=other)
    assert len(rows(new)) == 9


def test_predict_says_which_run_it_uses(finished_run, tmp_path, capsys):
    run_prediction(finished_run, tmp_path / "s.csv")
    told = f"{finished_run.path}: tf_efficientnet_lite0, validation accuracy "
    assert told in capsys.readouterr().out


def labelled_sample(folder, labels, header="id,target", name="sample_submission.csv"):
    lines = [f"{n:03d},{labels}" for n in range(9)]
    (folder / name).write_text("\n".join([header, *lines]) + "\n")


def test_a_sample_whose_labels_are_no_classes_is_refused_with_the_way_out(
    finished_run, test_photos, tmp_path
):
    labelled_sample(test_photos.parent, 0)
    with pytest.raises(
        UserError, match="'target' holds '0', but no class has that name .*--labels-as"
    ):
        run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)
    assert not (tmp_path / "s.csv").exists()
    classes = finished_run.facts.classes
    (tmp_path / "map.csv").write_text("".join(f"{c},L{i}\n" for i, c in enumerate(classes)))
    ways = {"names": classes, "index": [str(i) for i in range(3)],
            tmp_path / "map.csv": [f"L{i}" for i in range(3)]}  # fmt: skip
    for number, (way, labels) in enumerate(ways.items()):
        out = tmp_path / f"{number}.csv"
        run_prediction(finished_run, out, test=test_photos, labels_as=way)
        spelled = dict(zip(classes, labels, strict=True))
        told = pd.read_csv(tmp_path / "probabilities.csv")["category"].map(spelled)
        assert list(rows(out)["target"]) == list(told)


def test_unseen_classes_are_numbered_among_the_others_and_a_rejected_photo_last():
    told = submission.spelling("index", ["bear", "zebra", "ant"])
    assert told == {"ant": "0", "bear": "1", "zebra": "2"}
    told = submission.spelling("index", ["bear", "zebra", "alien"], reject="alien")
    assert told == {"bear": "0", "zebra": "1", "alien": "2"}


def test_a_mapping_that_lacks_a_class_is_said_before_anything_is_predicted(
    finished_run, test_photos, tmp_path
):
    (tmp_path / "map.csv").write_text("frog,1\n")
    with pytest.raises(UserError, match=r"--labels-as .*map.csv: has no line for blue\+whale"):
        run_prediction(
            finished_run, tmp_path / "s.csv", test=test_photos, labels_as=tmp_path / "map.csv"
        )


@pytest.mark.parametrize(
    "name",
    ["sampleSubmission.csv", "SAMPLE_SUBMISSION.CSV", "Sample-Sub.csv", "submission_sample.csv"],
)
def test_a_sample_is_found_under_the_names_that_contests_give_it(
    finished_run, test_photos, tmp_path, name
):
    labelled_sample(test_photos.parent, "frog", name=name)
    table = rows(run_prediction(finished_run, tmp_path / "s.csv", test=test_photos))
    assert list(table.columns) == ["id", "target"]


def test_what_may_be_a_sample_is_named_and_our_own_submission_is_not(
    finished_run, test_photos, tmp_path, capsys
):
    labelled_sample(test_photos.parent, "frog", name="submission_format.csv")
    for _ in range(2):
        table = rows(
            run_prediction(finished_run, test_photos.parent / "submission.csv", test=test_photos)
        )
        assert list(table.columns) == ["Id", "Category"]
        told = capsys.readouterr().out
        assert told.count("may be a sample submission; if so, pass it with --sample") == 1
        assert "submission_format.csv: may be a sample" in told


def test_probability_columns_in_other_letters_are_filled(finished_run, test_photos, tmp_path):
    header = "id,Frog,BLUE_WHALE,höhlen-bär"
    labelled_sample(test_photos.parent, "0.3,0.3,0.4", header, "sampleSubmission.csv")
    table = pd.read_csv(run_prediction(finished_run, tmp_path / "s.csv", test=test_photos))
    assert list(table.columns) == header.split(",")
    plain = pd.read_csv(tmp_path / "probabilities.csv")
    assert np.allclose(table["BLUE_WHALE"], plain["blue+whale"], atol=1e-6)
    assert np.allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)


def test_an_empty_header_stays_empty_and_semicolons_are_said(finished_run, test_photos, tmp_path):
    labelled_sample(test_photos.parent, "frog", header=",label")
    run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").startswith(",label\n000,")
    (test_photos.parent / "sample_submission.csv").write_text("id;label\n000;frog\n")
    with pytest.raises(UserError, match="uses semicolons"):
        run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)


def test_a_carriage_return_in_a_name_is_quoted_and_read_back(finished_run, test_photos, tmp_path):
    (test_photos / "003.png").rename(test_photos / "a\rb.png")
    out = run_prediction(finished_run, tmp_path / "s.csv", test=test_photos)
    with out.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert "a\rb.png" in [row["Id"] for row in table]
    assert len(table) == 9


def test_two_runs_that_kept_the_same_model_count_once(finished_run, toy, tmp_path, capsys):
    import shutil

    same = [Run(tmp_path / f"000{number}-copy") for number in (1, 2)]
    for run in same:
        shutil.copytree(finished_run.path, run.path)
    run_prediction(same, tmp_path / "s.csv", forecast=False)
    assert "0002-copy and 0001-copy hold the same model: it counts once" in capsys.readouterr().out
    assert twins_among([*same, finished_run]) == {1: 0, 2: 0}
    photo = next((toy / "test").iterdir())
    classify(PredictConfig(photos=(photo,), device="cpu", workers=0, forecast=False), same)
    told = capsys.readouterr().out
    assert "0002-copy and 0001-copy hold the same model: it counts once" in told
    assert "blend" not in told


def test_the_next_command_predicts_the_same_photos_by_the_same_runs():
    def run(path):
        return Run(Path(path))

    plain, other = PredictConfig(), PredictConfig(test=Path("new photos"))
    assert again(plain, [run("runs/0003-a")]) == "3"
    assert again(plain, [run("other/0003-a"), run("other/0004-b")]) == "3 4 --runs other"
    assert again(plain, [run("runs/0003-a"), run("other/0004-b")]) == "runs/0003-a other/0004-b"
    assert again(plain, [run("my runs/0003-a")]) == "3 --runs 'my runs'"
    assert run("my runs/0003-a").words == "3 --runs 'my runs'"
    assert again(plain, [run("runs/0003-a/fold-0")]) == "runs/0003-a/fold-0"
    assert again(other, [run("runs/0003-a")]) == "3 --test 'new photos'"


def test_the_look_at_mistakes_is_at_the_same_photos(finished_run, test_photos, tmp_path, capsys):
    run_prediction(finished_run, tmp_path / "s.csv", test=test_photos, forecast=False)
    number, root = finished_run.number, finished_run.path.parent
    told = " ".join(capsys.readouterr().out.split())
    assert f"interpret.py --run {number} --runs {root} --test {test_photos}" in told


@pytest.mark.parametrize("decided", [False, True])
def test_decisions_are_said_to_have_no_effect_only_where_there_are_any(
    finished_run, tmp_path, capsys, decided
):
    path = tmp_path / "decisions.csv"
    if decided:
        path.write_text("content,label,action\n0123456789abcdef,frog,keep\n")
    run_prediction(finished_run, tmp_path / "s.csv", forecast=False, decisions=path)
    assert ("without a forecast they have no effect" in capsys.readouterr().out) == decided
