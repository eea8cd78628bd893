"""The forecast of a test: its figures, its certainty, and which predictions it changes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_prediction, run_training, toy_config

from vlg_fastai.config import UserError
from vlg_fastai.data.store import Store
from vlg_fastai.demo import challenge as drawing
from vlg_fastai.model import probe
from vlg_fastai.predict import adapting
from vlg_fastai.predict.answer import Answer
from vlg_fastai.unseen import figures, folds, forecast, gap, mixture, regression
from vlg_fastai.unseen.adapt import Model
from vlg_fastai.unseen.folds import Labelled
from vlg_fastai.unseen.regression import Foretold, Regression

KINDS, WIDTH = 6, 32
NOTHING = np.zeros((0, 0), np.float32)


def photos(count, seed, by=0.0, kinds=KINDS):
    "Features and labels of `count` photos of each kind, all shifted by a shared offset."
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(KINDS + 2, WIDTH))
    offset = by * np.random.default_rng(8).normal(size=WIDTH)
    y = np.repeat(np.arange(kinds), count)
    x = centres[y] + rng.normal(size=(len(y), WIDTH)) * 0.7 + offset
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def labelled():
    x, y = photos(30, 0)
    kin = np.arange(len(y))
    return Labelled(x, y, kin, probe.out_of_fold(x, y, kin, KINDS, Store()))


@pytest.fixture(scope="module")
def model(labelled):
    train, held = probe.folds(labelled.y, labelled.groups, 0)[0]
    return Model.fit(labelled, train, held)


def right(model, logs, y):
    return (model.kinds[logs.argmax(1)] == y).mean()


def test_an_offset_that_all_photos_share_is_taken_off(model):
    x, y = photos(30, 1, by=6.0)
    plain, moved = model.plain(x), model.moved(x)
    assert right(model, plain, y) < 0.8
    assert right(model, model.plain(moved), y) > 0.95
    assert right(model, model.adapted(moved), y) > 0.95


def test_photos_taken_as_those_of_training_are_answered_as_before(model):
    x, _ = photos(30, 2)
    assert (model.adapted(model.moved(x)).argmax(1) == model.plain(x).argmax(1)).mean() > 0.97


def test_a_test_of_other_shares_keeps_its_answers_all_the_same(model):
    x, y = photos(60, 3)
    rows = (y < 2) | (np.arange(len(y)) % 3 == 0)
    adapted = model.adapted(model.moved(x[rows]))
    assert right(model, adapted, y[rows]) > 0.95


def test_a_fold_of_classes_that_were_never_shown_sets_no_temperature(labelled):
    shown = np.flatnonzero(labelled.y < 3)
    made = Model.fit(labelled, shown, np.flatnonzero(labelled.y == 4))
    assert made.temperatures == (1.0, 1.0)


def test_a_class_that_both_rule_out_does_not_win_by_adapting():
    table = pd.DataFrame({"file": ["a"], "problem": [None]})
    answer = Answer.closed(table, np.array([[1.0, 0.0, 0.0]]), ["x", "y", "z"])
    plain, adapted = np.array([[0.0, -300.0, -20.0]]), np.array([[-1e-9, -25.0, -20.0]])
    changed = answer.corrected(np.arange(3), adapting.change_of(adapted, plain))
    assert changed.category.tolist() == ["x"]


def test_adapted_answers_are_probabilities(model):
    x, _ = photos(10, 4, by=1.0)
    assert np.allclose(np.exp(model.adapted(model.moved(x))).sum(1), 1)


def figures_of(labelled, test, own=(NOTHING, NOTHING)):
    evidence = folds.gather(labelled, test)
    mixed = mixture.mixture(evidence, evidence.right.mean())
    own = [side if side.size else np.zeros((len(x), 0)) for side, x in
           zip(own, (labelled.x, test), strict=True)]  # fmt: skip
    return figures.of(labelled, evidence, mixed, test, own), mixed, evidence


def test_the_figures_are_those_of_the_shipped_table(labelled):
    found, *_ = figures_of(labelled, photos(20, 5)[0])
    assert list(found) == regression.shipped().names


def test_figures_are_small_where_nothing_is_shifted_and_grow_with_the_shift(labelled):
    same, moved = (figures_of(labelled, photos(20, 5, by=by)[0])[0] for by in (0.0, 3.0))
    assert same["moved agree"] > 0.95 > moved["moved agree"]
    assert abs(same["certainty"]) < 0.05
    assert same["offset"] + 1 < moved["offset"]
    assert same["unlike"] < 0.3 < moved["unlike"]
    assert same["alike moved by"] + 1 < moved["alike moved by"]
    assert moved["unlike moved"] < 0.3, "the offset alone makes no photo unlike"


def test_copies_among_few_photos_make_no_offset():
    x, y = photos(7, 0)
    x[1:8:7], x[8:15] = x[0], x[7]
    kin = np.unique(x[:, 0], return_inverse=True)[1]
    few = Labelled(x, y, kin, probe.out_of_fold(x, y, kin, KINDS, Store()))
    found, *_ = figures_of(few, photos(7, 1)[0])
    assert found["offset"] < 1
    assert found["spread"] < 1


def test_a_backbone_without_a_classifier_has_figures_that_are_taken_to_be_usual(labelled):
    found, *_ = figures_of(labelled, photos(20, 5)[0])
    assert np.isnan(found["own certainty"])
    told, _ = regression.shipped()(found)
    assert 0 <= told["plain"].low <= told["plain"].value <= told["plain"].high <= 1


def test_the_backbones_own_classifier_is_asked_where_there_is_one(labelled):
    x = photos(20, 5)[0]
    sure, unsure = 20 * np.eye(KINDS)[labelled.y], np.zeros((len(x), KINDS))
    found, *_ = figures_of(labelled, x, (sure, unsure))
    assert found["own certainty"] < -0.7
    assert found["own entropy"] > 1.5


def table(n=600, noise=0.05):
    "Simulated tests with one informative figure, and one without information."
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, 2))
    truth = np.clip(x[:, [0, 0]] + rng.normal(size=(n, 2)) * noise, 0, 1)
    return {
        "figures": ["telling", "idle"], "targets": ["plain", "known"], "rows": x.tolist(),
        "truth": truth.tolist(), "foretold": x[:, [0, 0]].tolist(), "beyond": 0.5,
        "factors": {"plain": [2.5, 2.5], "known": [2.5, 2.5]},
    }  # fmt: skip


def test_what_is_foretold_follows_the_figure_that_tells():
    found = Regression(table())
    for telling in (0.2, 0.5, 0.8):
        told, odd = found({"telling": telling, "idle": 0.5})
        assert told["plain"].value == pytest.approx(telling, abs=0.1)
        assert told["plain"].low < telling < told["plain"].high
        assert not odd


def test_intervals_are_wide_where_made_up_tests_were_missed():
    sure, unsure = (Regression(table(noise=noise)) for noise in (0.02, 0.15))
    widths = [
        np.ptp(made({"telling": 0.5, "idle": 0.5})[0]["plain"].interval) for made in (sure, unsure)
    ]
    assert 2 * widths[0] < widths[1]


def test_a_test_unlike_all_that_were_made_is_said_to_be_and_less_sure():
    found = Regression(table())
    near, odd_near = found({"telling": 0.99, "idle": 0.5})
    far, odd_far = found({"telling": 3.0, "idle": 3.0})
    assert (odd_near, odd_far) == (False, True)
    assert np.ptp(far["plain"].interval) > np.ptp(near["plain"].interval)


def test_a_test_that_is_known_to_show_other_classes_is_compared_with_such_alone():
    made = table() | {"targets": ["plain", "unseen"]}
    made |= {"truth": [[0.5, 0.4 if i % 2 else 0.0] for i in range(600)], "given": [[0.5]] * 600}
    few = regression.with_unseen(made)
    assert len(few["rows"]) == len(few["truth"]) == len(few["foretold"]) == 300
    assert {unseen for _, unseen in few["truth"]} == {0.4}
    assert len(made["rows"]) == 600


def test_a_share_that_is_given_is_read_and_not_forecast():
    made = table() | {"targets": ["known", "unseen", "known adapted"]}
    share = np.random.default_rng(1).choice([0.0, 0.2, 0.4], 600)
    made["truth"] = [[0.9 - part, part, 0.95 - part] for part in share]
    made["given"] = [row[::2] for row in made["truth"]]
    made["factors given"] = {"known": [2.0, 2.0], "known adapted": [2.0, 2.0]}
    found = Regression(regression.with_share(made))
    assert found.names == ["telling", "idle", "share"]
    for part in (0.0, 0.4):
        known = found({"telling": 0.5, "idle": 0.5, "share": part})[0]["known"]
        assert known.value == pytest.approx(0.9 - part, abs=0.05)


def test_with_a_given_share_accuracy_on_all_photos_follows_from_that_on_known_ones(labelled):
    found, *_ = figures_of(labelled, photos(20, 5)[0])
    whole, odd = regression.told(regression.asked(found, share=0.25))
    assert odd == regression.told(regression.asked(found))[1]
    assert whole["unseen"] == Foretold(0.25, 0.25, 0.25)
    for name, known in (("plain", "known"), ("adapted", "known adapted")):
        assert whole[name] == whole[known].times(0.75)


def test_with_a_given_share_no_model_is_foretold_to_be_right_about_more_than_the_others(labelled):
    given = TARGETS | {"unseen": Foretold(0.3, 0.3, 0.3), "known adapted": Foretold(0.9, 0.7, 1.0)}
    for accuracy in (0.5, 1.0):
        found = told(labelled, photos(20, 5)[0], accuracy=accuracy, targets=given)
        assert found.accuracy_interval[1] <= 0.7
        assert found.accuracy == pytest.approx(0.7 * found.known_here.value)


def test_a_share_beyond_all_simulated_ones_is_odd(labelled):
    found, *_ = figures_of(labelled, photos(20, 5)[0])
    usual, far = (regression.told(regression.asked(found, share=share)) for share in (0.3, 0.95))
    assert far[1]
    one = Foretold(0.5, 0.4, 0.7).doubled()
    assert one.interval == pytest.approx((0.3, 0.9))
    assert np.ptp(far[0]["known"].interval) >= np.ptp(usual[0]["known"].interval)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_given_share_is_said_to_be_given(labelled, share):
    given = TARGETS | {"unseen": Foretold(share, share, share)}
    found = told(labelled, photos(20, 5)[0], targets=given)
    assert f"{share:.0%} of its photos are of classes that were not trained on, as given" in (
        found.causes_in_words()
    )
    rows = list(gap._of_this_test(found, found.known_accuracy))
    assert any("as given" in row.source for row in rows) == (share > 0)
    assert sum(row.effect for row in rows) == pytest.approx(found.accuracy - found.known_accuracy)


def told(labelled, test, accuracy=None, adapt="auto", targets=None):
    found, mixed, evidence = figures_of(labelled, test)
    known = evidence.right.mean()
    made = regression.shipped()(found) if targets is None else (targets, False)
    accuracy = known if accuracy is None else accuracy
    return forecast.forecast(made, mixed, evidence, accuracy, 100, adapt)


def test_a_net_that_is_worse_than_the_probe_is_foretold_worse_and_less_surely(labelled):
    x = photos(20, 5)[0]
    probe_, net = told(labelled, x), told(labelled, x, accuracy=0.5)
    assert net.accuracy < 0.6 * probe_.accuracy / 0.9
    assert net.accuracy_interval[0] <= net.accuracy <= net.accuracy_interval[1]


TARGETS = {
    "plain": Foretold(0.5, 0.3, 0.7), "adapted": Foretold(0.6, 0.4, 0.8),
    "known": Foretold(0.6, 0.4, 0.8), "known adapted": Foretold(0.75, 0.5, 0.9),
    "unseen": Foretold(0.2, 0.1, 0.3),
}  # fmt: skip


@pytest.mark.parametrize(("adapt", "accuracy"), [("auto", 0.6), ("on", 0.6), ("off", 0.5)])
def test_the_forecast_is_that_of_what_is_submitted(labelled, adapt, accuracy):
    found = told(labelled, photos(20, 5)[0], adapt=adapt, targets=TARGETS)
    assert found.accuracy == pytest.approx(accuracy, abs=0.02)
    assert found.is_adapted == (adapt != "off")


def test_few_photos_are_not_adapted_to_unless_that_is_asked_for(labelled):
    few = photos(6, 5)[0]
    assert not told(labelled, few, targets=TARGETS).is_adapted
    assert told(labelled, few, adapt="on", targets=TARGETS).is_adapted


def test_causes_are_told_apart_only_where_the_share_is_known(labelled):
    x = photos(20, 5)[0]
    sure = told(labelled, x, targets=TARGETS)
    vague = told(labelled, x, targets=TARGETS | {"unseen": Foretold(0.3, 0.0, 0.7)})
    assert "about a fifth of its photos are of classes" in sure.causes_in_words()
    assert "cannot be told apart here" in vague.causes_in_words()
    for found, rows in ((sure, 3), (vague, 2)):
        effects = [cause.effect for cause in gap._of_this_test(found, found.known_accuracy)]
        assert len(effects) == rows
        assert sum(effects) == pytest.approx(found.accuracy - found.known_accuracy)


def test_a_test_that_is_easier_than_training_blames_no_other_classes(labelled):
    easy = TARGETS | {"plain": Foretold(1.0, 0.9, 1.0), "adapted": Foretold(1.0, 0.9, 1.0)}
    found = told(labelled, photos(20, 5)[0], accuracy=0.7, adapt="off", targets=easy)
    rows = list(gap._of_this_test(found, found.plain.value - 0.05))
    assert [(row.cause, round(row.effect, 3)) for row in rows] == [
        ("easier than training photos", 0.05)
    ]


def test_an_interval_that_says_nothing_is_called_so(labelled):
    nothing = TARGETS | {"adapted": Foretold(0.5, 0.0, 1.0)}
    found = told(labelled, photos(20, 5)[0], targets=nothing)
    assert "too uncertain to forecast (0.00 to 1.00)" in found.in_words(
        "validation, as printed", 0.9
    )
    usual = told(labelled, photos(20, 5)[0], targets=TARGETS)
    assert "expected (0.4" in usual.in_words("validation, as printed", 0.9)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.01, "next to none"), (0.32, "about a third"), (0.5, "about half"), (0.9, "about 90%")],
)
def test_shares_are_told_no_finer_than_they_are_known(share, words):
    assert forecast.part(share) == words


def predicted(probed, out, **options):
    run_prediction(probed, out, **options)
    details = pd.read_csv(out.with_name("probabilities.csv"))
    return pd.read_csv(out), details, json.loads(out.with_name("forecast.json").read_text())


def test_adapted_labels_have_a_column_of_their_own_and_are_submitted(probed, tmp_path, capsys):
    plain, before, off = predicted(probed, tmp_path / "off/s.csv", adapt="off")
    assert "adapted" not in before
    assert off["forecast"]["is_adapted"] is False
    answer, details, facts = predicted(probed, tmp_path / "on/s.csv", adapt="on")
    assert (details["closed_set"] == before["closed_set"]).all()
    assert (details["adapted"] == details["category"]).all()
    assert (answer["Category"] == details["category"]).all()
    changed = (details["adapted"] != details["closed_set"]).sum()
    assert 0 < changed < len(details) / 2
    assert f"{changed} of 90 labels change" in " ".join(capsys.readouterr().out.split())
    classes = details.columns[details.columns.get_loc("problem") + 1 :]
    assert np.allclose(details[classes].sum(axis=1), 1, atol=1e-4)
    said = facts["forecast"]
    assert said["accuracy"] == pytest.approx(said["adapted"]["value"])
    assert off["forecast"]["accuracy"] == pytest.approx(off["forecast"]["plain"]["value"])
    assert (plain["Category"] == before["category"]).all()


def test_whether_it_adapts_is_said_with_the_way_to_the_other(probed, tmp_path, capsys):
    *_, facts = predicted(probed, tmp_path / "s.csv")
    told = " ".join(capsys.readouterr().out.split())
    if facts["forecast"]["is_adapted"]:
        assert "(--adapt off keeps the plain labels)" in told
    else:
        assert "(--adapt on: adapt anyway)" in told


def test_without_a_forecast_nothing_is_adapted_unless_that_is_asked_for(
    probed, tmp_path, monkeypatch
):
    monkeypatch.setattr(forecast, "GAIN", -1.0)
    _, details, _ = predicted(probed, tmp_path / "a/s.csv")
    assert "adapted" in details
    run_prediction(probed, tmp_path / "b/s.csv", forecast=False, reject="other")
    assert "adapted" not in pd.read_csv(tmp_path / "b/probabilities.csv")


def test_what_is_rejected_is_judged_as_it_is_answered(probed, tmp_path):
    ink = Path(probed.config["data"]) / drawing.INK / "test"
    shares = []
    for adapt in ("off", "on"):
        options = {"adapt": adapt, "reject": "other", "test": ink}
        answer, *_ = predicted(probed, tmp_path / adapt / "s.csv", **options)
        shares.append((answer["Category"] == "other").mean())
    assert shares[1] < shares[0]


def test_adapting_does_without_a_printed_forecast(probed, tmp_path, capsys):
    _, details, _ = predicted(probed, tmp_path / "s.csv", adapt="on", forecast=False)
    assert (details["adapted"] == details["category"]).all()
    assert "this test set" not in capsys.readouterr().out


def test_adapting_to_photos_that_cannot_be_compared_is_an_error(toy, tmp_path):
    random = run_training(toy_config(toy, tmp_path, pretrained=False))
    with pytest.raises(
        UserError, match="--adapt on: not with --run .*not start from trained weights"
    ):
        run_prediction(random, tmp_path / "s.csv", adapt="on")


def test_the_test_in_ink_is_there_with_its_truth_and_is_told_from_the_other(probed, tmp_path):
    root = Path(probed.config["data"])
    *_, usual = predicted(probed, tmp_path / "a/s.csv")
    *_, ink = predicted(probed, tmp_path / "b/s.csv", test=root / drawing.INK / "test")
    truth = pd.read_csv(root / drawing.INK / "truth/test.csv").set_index("Id")
    answer = pd.read_csv(tmp_path / "b/s.csv").set_index("Id")
    right = (answer["Category"] == truth["Category"].reindex(answer.index)).mean()
    low, high = ink["forecast"]["accuracy_interval"]
    assert low <= right <= high
    assert ink["forecast"]["accuracy"] < usual["forecast"]["accuracy"]
