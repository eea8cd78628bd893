"""The deciding metric: what each photo costs by it, and which choices follow it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import FINE_TUNED, run_training, toy_config
from sklearn.metrics import accuracy_score, f1_score, log_loss

from vlg_fastai.compare import run as comparing
from vlg_fastai.compare.run import followed
from vlg_fastai.config import CompareConfig
from vlg_fastai.model import metrics
from vlg_fastai.train import choosing
from vlg_fastai.train.callbacks import BestWeights
from vlg_fastai.train.candidates import Candidate


def drawn(n=200, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return rng.dirichlet(np.ones(classes), n) + 0.4 * np.eye(classes)[y], y


def test_figures_are_those_of_scikit_learn():
    probs, y = drawn()
    probs /= probs.sum(1, keepdims=True)
    guess = probs.argmax(1)
    assert metrics.figure("nll", probs, y) == pytest.approx(log_loss(y, probs))
    assert metrics.figure("log_loss", probs, y) == metrics.figure("nll", probs, y)
    assert metrics.figure("accuracy", probs, y) == pytest.approx(accuracy_score(y, guess))
    macro = f1_score(y, guess, average="macro")
    assert metrics.figure("macro_f1", probs, y) == pytest.approx(macro)
    order = np.argsort(-probs, 1)[:, :5]
    precision = [
        (1 / (1 + np.flatnonzero(row == t))).sum() for row, t in zip(order, y, strict=True)
    ]
    assert metrics.figure("map@5", probs, y) == pytest.approx(np.mean(precision))


def test_what_a_photo_costs_in_macro_f1_is_what_the_figure_is_without_it():
    probs, y = drawn(40, 4)
    guess, found = probs.argmax(1), metrics.unbalanced(probs, y)
    whole, told = f1_score(y, guess, average="macro"), []
    for i in range(len(y)):
        rest = np.delete(np.arange(len(y)), i)
        less = f1_score(y[rest], guess[rest], labels=np.unique(y[rest]), average="macro")
        told.append(40 * (1 - whole) - 39 * (1 - less))
    assert found - found.mean() == pytest.approx(np.array(told) - np.mean(told))
    assert found.mean() == pytest.approx(1 - whole)


def test_photos_of_rare_classes_cost_more_in_macro_f1():
    y = np.array([0] * 45 + [1] * 45 + [2] * 10)
    probs = np.eye(3)[y] * 0.9 + 0.03
    probs[0], probs[95] = probs[50], probs[1]
    found = metrics.unbalanced(probs, y)
    assert found[95] > 2 * found[0] > 0


Y = np.array([0] * 60 + [1] * 40)


def candidate(name, right, sure, cost=0):
    """Predictions that are correct where `right` (n,) is True, with confidence `sure` (n,)."""
    z = np.where((np.arange(2) == Y[:, None]) == right[:, None], sure[:, None], 0.0)
    return Candidate(name, "linear", None, z.astype(np.float32), cost=cost)


@pytest.mark.parametrize(
    ("metric", "kept"),
    [("nll", "shy"), ("log_loss", "shy"), ("accuracy", "sure"), ("macro_f1", "even")],
)
def test_what_is_kept_differs_by_the_metric(metric, kept):
    rare, common = np.arange(60, 100), np.arange(60)
    sure = np.ones(100, bool)
    sure[rare[:15]] = False  # 85 correct, few of them in the rare class
    even = np.ones(100, bool)
    even[common[:14]] = even[rare[:2]] = False
    shy = np.ones(100, bool)
    shy[common[:20]] = False
    found = [
        candidate("sure", sure, np.full(100, 4.0)),
        candidate("even", even, np.where(np.arange(100) % 2, 4.0, 1.0)),
        candidate("shy", shy, np.where(shy, 8.0, 0.02)),
    ]
    probs = choosing.Losses.of(found, Y, np.arange(100), metric)
    assert found[int(np.argmin(probs.means.mean(1)))].name == kept
    assert choosing.best(found, Y, np.arange(100), metric)[0].name == kept


def test_answers_that_name_the_label_second_are_better_by_map_at_5():
    y = np.zeros(50, int)
    second, last = np.tile([0.3, 0.4, 0.1, 0.1, 0.05, 0.05], (50, 1)), np.zeros((50, 6))
    last[:] = [0.01, 0.4, 0.3, 0.1, 0.1, 0.09]
    assert metrics.figure("map@5", second, y) == pytest.approx(0.5)
    assert metrics.figure("map@5", last, y) == pytest.approx(0.0)
    assert metrics.figure("accuracy", second, y) == metrics.figure("accuracy", last, y) == 0


def test_by_map_at_5_who_names_the_label_second_is_kept():
    y = np.arange(60) % 6

    def answers(name, own):
        z = np.zeros((60, 6), np.float32)
        z[np.arange(60), (y + 1) % 6] = 1.0
        z[np.arange(60), y] = own
        z[:12] = 3 * np.eye(6)[y[:12]] if name == "last" else z[:12]
        return Candidate(name, "linear", None, z, cost=0)

    found = [answers("last", -2.0), answers("second", 0.9)]
    assert choosing.best(found, y, np.arange(60), "map@5")[0].name == "second"
    assert choosing.best(found, y, np.arange(60), "accuracy")[0].name == "last"


@pytest.mark.parametrize(("metric", "best"), [("nll", 2), ("accuracy", 3), ("macro_f1", 1)])
def test_the_epoch_that_is_kept_follows_the_metric(metric, best, monkeypatch):
    from vlg_fastai.train import callbacks

    rows = [
        {"nll": 0.5, "accuracy": 0.7, "macro_f1": 0.9},
        {"nll": 0.3, "accuracy": 0.8, "macro_f1": 0.6},
        {"nll": 0.4, "accuracy": 0.9, "macro_f1": 0.5},
    ]
    kept = BestWeights(9, metric=metric)
    kept.before_fit()
    for number, row in enumerate(rows, 1):
        monkeypatch.setattr(callbacks, "last_row", lambda learn, row=row: row)
        history = SimpleNamespace(rows=[{"epoch": number}])
        kept.learn = SimpleNamespace(
            dls=SimpleNamespace(valid=[1]), epoch=number - 1, n_epoch=9, history=history,
            model=SimpleNamespace(state_dict=dict),
        )  # fmt: skip
        kept.after_epoch()
    assert kept.epoch_of_best == best


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    made = toy_config(toy, root, arch="tf_efficientnet_lite0", **FINE_TUNED)
    import dataclasses

    return [
        run_training(dataclasses.replace(made, pretrained=True, epochs=n, metric="macro_f1"))
        for n in (1, 3)
    ]


def test_a_run_by_a_metric_writes_it_and_compare_follows(runs, capsys):
    history = pd.read_csv(runs[1].path / "history.csv")
    assert history["macro_f1"].between(0, 1).all()
    assert runs[1].facts.metric["name"] == "macro_f1"
    assert runs[1].facts.metric["value"] == pytest.approx(runs[1].facts.macro_f1)
    capsys.readouterr()
    comparing.compare(CompareConfig(runs=runs[0].path.parent), runs, None)
    told = capsys.readouterr().out
    assert "macro_f1" in told
    assert "runs has macro_f1" in told
    for by in ("nll", "map@5", "accuracy"):
        comparing.compare(CompareConfig(runs=runs[0].path.parent, by=by), runs, None)
        assert f"runs has {by}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "by"),
    [(["log_loss"] * 2, "nll"), (["nll"] * 2, "accuracy"), (["map@5"] * 2, "map@5"),
     (["log_loss", "map@5"], "accuracy")],
)  # fmt: skip
def test_runs_are_compared_by_the_metric_that_they_name(asked, by):
    assert followed([SimpleNamespace(config={"metric": metric}) for metric in asked]) == by
