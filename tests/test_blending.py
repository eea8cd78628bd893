"""Blends: runs are weighted by photos that none of them saw, and claim no more than those show."""

import dataclasses
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run_prediction, run_training, toy_config
from safetensors.torch import load_file

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.predict import blending, soup
from vlg_fastai.predict.blending import Shared
from vlg_fastai.predict.run import say_end
from vlg_fastai.runs import blends
from vlg_fastai.runs.run import WEIGHTS, Run

REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "epochs": 0}


def shared(noises, n=400, seed=0, common=0.0):
    "Runs that err as often as their noise says; with `common`, partly on the same photos."
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    both = rng.normal(size=(n, 3))
    z = [
        3 * np.eye(3)[y] + noise * (common * both + (1 - common) * rng.normal(size=(n, 3)))
        for noise in noises
    ]
    probs = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    return Shared(
        [None] * len(noises), probs, y, np.arange(n), y.astype(str), np.tile(y, (len(noises), 1))
    )


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(blending, "FEW", 20)


@pytest.fixture(scope="module")
def three(toy, tmp_path_factory):
    "Probes of two nets and of one at another size."
    root = tmp_path_factory.mktemp("runs")
    made = ({}, {"arch": "tf_efficientnet_lite1"}, {"size": 64})
    return [run_training(toy_config(toy, root, **{**REAL, **one})) for one in made]


def test_greedy_selection_is_no_worse_than_the_best_run_or_the_mean_on_what_it_sees():
    own = shared((1.0, 2.0, 4.0)).own
    shares = blending.greedy(own)
    assert shares.sum() == pytest.approx(1)
    loss = -np.log(shares @ own).mean()
    assert loss <= -np.log(own).mean(1).min() + 1e-9
    assert loss <= -np.log(own.mean(0)).mean() + 1e-3
    assert shares[0] > shares[2]


def test_a_run_that_adds_nothing_gets_nothing():
    own = shared((1.0, 1.0)).own
    assert blending.greedy(np.stack([own[0], np.full_like(own[0], 0.01)])).tolist() == [1, 0]


def kept(found, monkeypatch, blend=None):
    told = []
    monkeypatch.setattr(blending, "say_choice", lambda found, rows, kept, *more: told.append(kept))
    monkeypatch.setattr(blending, "stored", lambda *given: {})
    found = dataclasses.replace(found, runs=[type("R", (), {"facts": Facts})] * len(found.runs))
    blending.settled(PredictConfig(blend=blend), found, len(found.runs))
    return told[0]


class Facts:
    classes = ("0", "1", "2")


def test_the_simplest_answer_is_kept_where_others_gain_nothing(monkeypatch):
    assert kept(shared((1.0, 1.0), common=1.0), monkeypatch) == "best"
    assert kept(shared((3.0, 3.0, 3.0)), monkeypatch) == "mean"
    assert kept(shared((3.0, 3.0, 30.0)), monkeypatch) == "greedy"
    assert kept(shared((1.0, 1.0), common=1.0), monkeypatch, "greedy") == "greedy"


def test_what_a_blend_scores_is_judged_on_photos_that_had_no_say_in_it():
    "Of many runs that know nothing, one looks good by chance; judged elsewhere it does not."
    rng = np.random.default_rng(0)
    y, probs = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), (200, 60))
    found = Shared([None] * 200, probs, y, np.arange(60), y, np.tile(y, (200, 1)))
    seen = -np.log(blending.greedy(found.own) @ found.own).mean()
    loss = blending.losses_of(blending.nested(found, blending.greedy), y)
    assert seen < 0.85 * np.log(3)
    assert loss.mean() > 0.95 * np.log(3)


def test_a_blend_is_written_and_can_be_repeated(three, few, tmp_path, capsys):
    run_prediction(three, tmp_path / "a/s.csv", forecast=False, blend="greedy")
    assert "each way fitted on others; kept: greedy" in capsys.readouterr().out
    told = json.loads((tmp_path / "a/blend.json").read_text())
    assert sum(told["shares"]) == pytest.approx(1)
    cfg = PredictConfig(blend=tmp_path / "a/blend.json", runs=three[0].path.parent)
    from vlg_fastai.runs.find import find

    chosen = find(cfg.runs, blends.names_of(cfg))
    run_prediction(chosen, tmp_path / "b/s.csv", forecast=False, blend=cfg.blend)
    for name in ("s.csv", "probabilities.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_a_mean_counts_each_run_the_same(three, few, tmp_path):
    run_prediction(three[:2], tmp_path / "s.csv", forecast=False, blend="mean")
    told = json.loads((tmp_path / "blend.json").read_text())
    assert told["shares"] == [0.5, 0.5]


def test_runs_that_held_out_other_photos_are_not_weighed(toy, tmp_path, capsys):
    options = {"epochs": 1, "probe": False, "warm_start": False}
    runs = [run_training(toy_config(toy, tmp_path, seed=seed, **options)) for seed in (1, 2)]
    run_prediction(runs, tmp_path / "s.csv", forecast=False)
    told = capsys.readouterr().out
    assert "takes 50; using equal weights" in told
    assert "--blend" not in told
    with pytest.raises(UserError, match="--blend greedy: .* try --blend mean"):
        run_prediction(runs, tmp_path / "t.csv", forecast=False, blend="greedy")


def test_a_probe_that_lies_beside_a_net_is_among_what_is_weighed(toy, tmp_path):
    cfg = toy_config(toy, tmp_path, **{**REAL, "epochs": 1, "choose": "clean"})
    run = run_training(cfg)
    beside = blending.probes_of([run])
    assert [one.path.name for one in beside] == ([] if run.facts.is_probe else ["probe"])
    assert not blending.probes_of([run, *beside])


@pytest.mark.parametrize(
    "told", [{}, {"runs": ["a"], "shares": [0.4], "temperature": 1.0}, {"runs": 3, "shares": 1}]
)
def test_a_file_that_is_no_blend_is_named(tmp_path, told):
    path = tmp_path / "blend.json"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="--blend .*blend.json: not a blend.json of predict.py"):
        blends.read(path)


def test_the_forecast_of_a_blend_starts_from_its_own_answers(probed, tmp_path, capsys):
    cfg = toy_config(Path(probed.config["data"]), tmp_path / "runs", **REAL)
    other = run_training(dataclasses.replace(cfg, size=96, seed=42))
    run_prediction([probed, other], tmp_path / "s.csv", blend="greedy")
    told = json.loads((tmp_path / "blend.json").read_text())
    steps = json.loads((tmp_path / "forecast.json").read_text())
    assert told["judged"]["kept"] == "greedy"
    assert pd.read_csv(tmp_path / "probabilities.csv")["p_unseen"].notna().any()
    assert steps["run"] in {path.split("/")[-1] for path in told["runs"]}


@pytest.mark.parametrize(
    ("blend", "names_runs"), [("greedy", True), ("a b.json", False), (None, True)]
)
def test_the_next_command_blends_as_this_one_did(probed, tmp_path, capsys, blend, names_runs):
    blend = tmp_path / blend if blend and blend != "greedy" else blend
    facts = {"forecast": {"share_interval": (0.0, 0.9)}}
    cfg, found = PredictConfig(blend=blend), SimpleNamespace(runs=[probed, probed])
    say_end(cfg, tmp_path / "test", found, facts)
    told = shlex.split(capsys.readouterr().out.replace("\n", " "))
    given = told[told.index("predict.py") + 1 :]
    assert ("--run" in given) == names_runs  # a blend.json names its own and takes no others
    assert (given[given.index("--blend") + 1] if "--blend" in given else None) == (
        str(blend) if blend else None
    )


@pytest.fixture(scope="module")
def nets(toy, tmp_path_factory):
    "Fine-tuned nets of one architecture that held out the same photos."
    root = tmp_path_factory.mktemp("runs")
    options = {"probe": False, "warm_start": False, "epochs": 4, "keep": "last"}
    return [run_training(toy_config(toy, root, lr=lr, **options)) for lr in (1e-3, 2e-3, 3e-3)]


@pytest.fixture
def fewer(monkeypatch):
    monkeypatch.setattr(blending, "FEW", 5)


def test_a_soup_is_a_run_whose_weights_are_the_mean_of_those_it_was_made_of(
    nets, fewer, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(soup, "greedy", lambda kitchen, rows=None, most=None: [2, 0][:most])
    even = {"accuracy": 0.5, "nll": 1.0, "accuracy_interval": (0.0, 1.0)}
    monkeypatch.setattr(blending, "figures", lambda found, probs: even)
    more = {"used": 3, "about": ["own, CC0"], "strange": []}
    learned = dataclasses.replace(nets[0].facts, extra=more)
    monkeypatch.setitem(vars(nets[0]), "facts", learned)
    given = {"forecast": False, "soup": True, "runs": tmp_path}
    run_prediction(nets, tmp_path / "a.csv", **given)
    made = Run(next(tmp_path.glob("0001-soup")))
    assert f"{made.path}: mean of the weights of" in capsys.readouterr().out
    state, first, last = (load_file(one.path / WEIGHTS) for one in (made, nets[0], nets[2]))
    for key, value in state.items():
        if value.is_floating_point() and "running_" not in key:
            assert torch.allclose(value, (first[key] + last[key]) / 2, atol=1e-6)
    assert any(not torch.equal(state[key], first[key]) for key in state if "running_" in key)
    assert made.facts.soup == [nets[2].path.name, nets[0].path.name]
    assert made.facts.held_out == nets[0].facts.held_out
    assert made.facts.extra == more  # though the first of the two used none
    run_prediction(made, tmp_path / "b.csv", forecast=False)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_soup_takes_what_makes_it_no_worse_and_the_best_run_answers_otherwise(
    nets, fewer, tmp_path, monkeypatch, capsys
):
    good = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 4
    worse, better = good * np.array([[1, 1, 1, 1, -1, 1]]).T, np.eye(3)[[0, 1, 2, 0, 1, 1]] * 4
    answers = {(0,): good, (1,): worse, (2,): -good, (0, 1): better}
    kitchen = SimpleNamespace(
        models=[0, 1, 2],
        found=SimpleNamespace(y=np.array([0, 1, 2, 0, 1, 1])),
        logits=lambda taken: answers.get(tuple(sorted(taken)), -good),
    )
    assert soup.greedy(kitchen) == [0, 1]
    assert soup.greedy(kitchen, most=1) == [0]
    monkeypatch.setattr(soup, "greedy", lambda kitchen, rows=None, most=None: [1])
    run_prediction(nets, tmp_path / "a.csv", forecast=False, soup=True, runs=tmp_path)
    assert f"{nets[1].path.name}, which predicts alone" in capsys.readouterr().out
    assert not list(tmp_path.glob("*-soup"))


def test_what_makes_no_soup_is_named(nets, three, toy, tmp_path, fewer):
    for runs, reason in (
        (nets[:1], "--soup: needs two or more runs"),
        ([nets[0], three[0]], "is not a single fine-tuned net .probe."),
    ):
        with pytest.raises(UserError, match=reason):
            run_prediction(runs, tmp_path / "a.csv", forecast=False, soup=True)
    options = {"probe": False, "warm_start": False, "epochs": 1, "head": "linear"}
    other = run_training(toy_config(toy, tmp_path, **options))
    with pytest.raises(UserError, match="differ in head; --blend"):
        run_prediction([nets[0], other], tmp_path / "a.csv", forecast=False, soup=True)


@pytest.mark.parametrize("photos", [(), (Path("frog.jpg"),)])
def test_a_blend_is_said_to_be_written_only_where_it_is(monkeypatch, capsys, photos):
    monkeypatch.setattr(blending, "stored", lambda *given: {})
    run = SimpleNamespace(facts=Facts, called="r")
    found = dataclasses.replace(shared((3.0, 3.0, 3.0)), runs=[run] * 3)
    blending.settled(PredictConfig(photos=photos), found, 3)
    assert ("reproduces it" in capsys.readouterr().out) == (not photos)
