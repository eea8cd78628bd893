"""A run of folds predicts each photo by a net that never saw it, and works like any other run."""

import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import run_prediction, run_training, toy_config
from test_resuming import KilledError, going_on, killed_at

from vlg_fastai.compare import judged
from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.data import folding, listing, split
from vlg_fastai.data.store import Store
from vlg_fastai.machine import device
from vlg_fastai.model.inference import probabilities
from vlg_fastai.report.gradcam import Explainer
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.find import find
from vlg_fastai.runs.run import Run
from vlg_fastai.train import assembling, fold, side_by_side
from vlg_fastai.train.assembling import Pool
from vlg_fastai.train.candidates import Candidate
from vlg_fastai.train.folds import in_folds

pytestmark = pytest.mark.xdist_group("folds")  # one process: what the tests share is made once
REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64, "choose": "clean"}
COUNT = 3


def config(toy, runs, **options):
    return toy_config(toy, runs, **{"folds": COUNT, "epochs": 1, **REAL, **options})


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    return run_training(config(toy, tmp_path_factory.mktemp("runs"), refit=True))


@pytest.fixture(scope="module")
def probes(toy, tmp_path_factory):
    return run_training(config(toy, tmp_path_factory.mktemp("runs"), epochs=0))


def table(*rows):
    made = pd.DataFrame(rows, columns=["file", "label", "grey"])
    dhash = np.random.default_rng(0).integers(0, 2**63, len(made), np.uint64)
    made = made.assign(problem=None, side="train", content=made["file"], dhash=dhash)
    return made.assign(folder=made["label"])


def test_every_photo_is_answered_once_by_a_net_that_never_saw_it(run):
    places = run.split.set_index("file")
    oof = pd.read_csv(run.path / "oof.csv").set_index("file")
    assert set(oof.index) == set(places.index[places["fold"] >= 0])
    assert places.groupby("group")["fold"].nunique().max() == 1
    for number in range(COUNT):
        own = Run(run.path / f"fold-{number}")
        sides = own.split.set_index("file")["split"]
        held = sides.index[sides == "valid"]
        assert set(held) == set(places.index[places["fold"] == number])
        told = pd.read_csv(own.path / "valid.csv").set_index("file").iloc[:, 1:]
        logs = np.log(np.maximum(told.to_numpy(), 1e-12))
        whole = oof.loc[told.index].iloc[:, 1:].to_numpy()
        assert np.allclose(probabilities(logs, run.facts.temperature), whole, atol=1e-6)


def test_its_score_is_that_of_all_photos(run):
    oof = pd.read_csv(run.path / "oof.csv")
    guess = oof.columns[2:].to_numpy()[oof.iloc[:, 2:].to_numpy().argmax(1)]
    assert run.facts.accuracy == pytest.approx((guess == oof["label"]).mean())
    assert run.facts.held_out == len(oof)
    assert [one["run"] for one in run.facts.folds] == ["fold-0", "fold-1", "fold-2", "refit"]
    assert run.facts.status == "finished"
    assert not list(run.path.rglob("checkpoint"))


def test_a_photo_has_no_say_in_what_answers_it():
    rng = np.random.default_rng(0)

    def one(name):
        return Candidate(name, "linear", None, rng.normal(size=(40, 3)).astype(np.float32))

    folds = [
        SimpleNamespace(
            found=[one("probe"), one("fine-tuned")],
            y=rng.integers(0, 3, 40),
            groups=np.arange(40) + 100 * number,
            metric="nll",
        )
        for number in range(3)
    ]
    names = ["probe", "fine-tuned"]
    before = Pool.of(folds[1:], names).best
    folds[0].y = 2 - folds[0].y
    after = Pool.of(folds[1:], names).best
    assert (before.name, before.temperature) == (after.name, after.temperature)
    folds[1].y = 2 - folds[1].y
    assert Pool.of(folds[1:], names).best.temperature != before.temperature


def test_the_answer_is_the_mean_of_the_nets_under_one_temperature(probes, tmp_path):
    run_prediction(probes, tmp_path / "s.csv", forecast=False)
    whole = pd.read_csv(tmp_path / "probabilities.csv")
    parts = []
    for member in probes.members:
        run_prediction(member, tmp_path / member.path.name / "s.csv", forecast=False)
        parts.append(pd.read_csv(tmp_path / member.path.name / "probabilities.csv"))
    classes = probes.facts.classes
    logs = np.log(np.mean([part[classes].to_numpy() for part in parts], 0))
    assert np.allclose(probabilities(logs, probes.facts.temperature), whole[classes], atol=1e-6)


def test_a_probe_of_a_fold_learned_nothing_of_its_photos(probes):
    "Its predictions of them are those of the selected model, which would know its own photos."
    member = probes.members[0]
    z = fold.read(member, list(pd.read_csv(member.path / "valid.csv")["file"]))[0][0].logits
    told = pd.read_csv(member.path / "valid.csv")
    assert np.allclose(
        probabilities(z, member.facts.temperature), told.iloc[:, 2:].to_numpy(), atol=1e-5
    )


def test_a_class_of_one_photo_is_taught_in_every_fold_and_asked_about_in_none(capsys):
    rng = np.random.default_rng(0)
    rows = [(f"{i}.png", label, rng.bytes(256)) for label in "ab" for i in range(6)]
    rows = [(f"{label}{file}", label, grey) for file, label, grey in rows]
    made = folding.in_folds(table(*rows, ("c.png", "c", rng.bytes(256))), 3, seed=0)
    assert made.loc[made["label"] == "c", "fold"].tolist() == [split.ALWAYS]
    assert sorted(made["fold"].value_counts().drop(split.ALWAYS)) == [4, 4, 4]
    folding.say_folds(made, 3)
    assert "trained on in every fold, since the class has too few photos to split: c" in (
        capsys.readouterr().out
    )


def test_too_few_photos_for_so_many_folds_are_named():
    rows = [(f"{i}.png", "ab"[i % 2], np.random.default_rng(i).bytes(256)) for i in range(4)]
    with pytest.raises(UserError, match="--folds 9: give 2 to 10"):
        folding.in_folds(table(*rows), 9, seed=0)


@pytest.mark.parametrize("at", [5, 2])
def test_a_run_that_is_killed_within_a_fold_goes_on_there(toy, tmp_path, monkeypatch, at, capsys):
    options = {"choose": "clean", "pretrained": False, "arch": "test_efficientnet", "size": 32}
    whole = run_training(config(toy, tmp_path / "whole", **options))
    cfg = config(toy, tmp_path / "parts", **options)
    fitted = fold.fine_tune
    kill = killed_at(at)
    with monkeypatch.context() as patch:
        patch.setattr(
            fold,
            "fine_tune",
            lambda p, learn, run, cbs, *more: fitted(p, learn, run, [kill], *more),
        )
        with pytest.raises(KilledError):
            run_training(cfg)
    capsys.readouterr()
    done = len(list(cfg.runs.glob("*/fold-*/answers.json")))
    assert done == at // 4
    run = run_training(going_on(cfg))
    assert f"1 of {COUNT - done} to do" in capsys.readouterr().out
    assert (run.path / "oof.csv").read_bytes() == (whole.path / "oof.csv").read_bytes()
    assert run.facts.nll == whole.facts.nll
    assert run.facts.resumed_at


def test_processes_fit_folds_side_by_side_and_one_that_dies_costs_its_fold(
    toy, tmp_path, monkeypatch, capsys
):
    cfg = config(toy, tmp_path, epochs=0, devices="cpu,cpu")
    begin = side_by_side.Team.begin

    def begun(team, one, rounds):
        begin(team, one, rounds)
        if one.run.path.name == "fold-0":
            team.jobs[-1].process.kill()

    with monkeypatch.context() as patch:
        patch.setattr(side_by_side.Team, "begin", begun)
        run = run_training(cfg)
    told = capsys.readouterr().out
    assert "fold-0 failed (exit code -9 on cpu)" in told
    assert "1 net is missing" in told
    assert run.facts.status == "unfinished"
    with pytest.raises(UserError, match="--resume"):
        run.check_finished()
    assert [one["run"] for one in run.facts.folds] == ["fold-1", "fold-2"]
    run_prediction(run, tmp_path / "s.csv", forecast=False)
    assert "mean of 2 folds, 1 of 3 are missing" in capsys.readouterr().out
    again = run_training(going_on(dataclasses.replace(cfg, devices=None)))
    assert [one["run"] for one in again.facts.folds] == ["fold-0", "fold-1", "fold-2"]
    assert again.facts.status == "finished"
    assert not multiprocessing.active_children()


def test_devices_that_are_none_are_named(toy, tmp_path):
    with pytest.raises(UserError, match="--devices abacus: not a device"):
        run_training(config(toy, tmp_path, devices="cpu,abacus"))
    with pytest.raises(UserError, match="--devices cpu,: give names like"):
        run_training(config(toy, tmp_path, devices="cpu,"))
    with pytest.raises(UserError, match="--devices: callbacks cannot go to other processes"):
        in_folds(config(toy, tmp_path, devices="cpu"), None, [object()])


def test_a_run_of_folds_is_compared_on_the_photos_that_another_held_out(run, toy, tmp_path):
    other = run_training(config(toy, tmp_path, folds=0))
    found = judged.together(judged.judge_all([run, other]))
    assert [len(place.runs) for place in found] == [2]
    assert found[0].right.shape[1] == other.facts.held_out


def test_its_reports_are_made_and_each_photo_is_explained_by_its_own_net(run, toy):
    given = {"device": "cpu", "precision": "fp32", "workers": 0}
    written = interpret(InterpretConfig(gradcam=(4,), confusion=True, page=True, **given), [run])
    assert {path.name for path in written} >= {"gradcam.png", "confusion.png", "index.html"}
    photos = listing.of_run(run, toy)
    machine = device.prepare(toy_config(toy, run.path.parent))
    explainer = Explainer.of_run(run, machine, photos, Store(None))
    row = photos.iloc[-1]
    own = Explainer.of_run(run.members[int(row["fold"])], machine, photos, Store(None))
    asked = [row["path"]], np.array([[0]])
    assert np.allclose(explainer(*asked)[0].maps, own(*asked)[0].maps)


def test_a_net_of_a_run_of_folds_can_be_named(run):
    root = run.path.parent
    assert find(root, [f"{run.number}:fold-1"])[0].path == run.path / "fold-1"
    with pytest.raises(UserError, match="has no such candidate; it has folds, fold-0, fold-1"):
        find(root, [f"{run.number}:fold-9"])


def test_labels_are_doubted_by_the_nets_of_a_run_of_folds(run, toy, tmp_path, capsys):
    from vlg_fastai.api import audit

    given = {"data": toy, "runs": run.path.parent, "arch": "tf_efficientnet_lite0", "size": 64}
    doubts = audit(**given, out=tmp_path / "nets")
    total = len(run.split)
    assert f"its nets judge the labels of {total} of {total} photos" in capsys.readouterr().out
    audit(**{**given, "runs": tmp_path}, out=tmp_path / "probe")
    assert "its nets judge" not in capsys.readouterr().out
    oof = pd.read_csv(run.path / "oof.csv")
    guess = oof.columns[2:].to_numpy()[oof.iloc[:, 2:].to_numpy().argmax(1)]
    wrong = set(oof["file"][guess != oof["label"]].str.removeprefix("train/"))
    told = pd.read_csv(doubts)
    assert wrong <= set(told["file"][told["issue"] == "doubtful_label"])
    with pytest.raises(UserError, match="--run 9"):
        audit(**given, run="9", out=tmp_path / "x")


def test_a_fold_is_fitted_anew_where_photos_of_its_own_came_back(toy, tmp_path, capsys):
    data = shutil.copytree(toy, tmp_path / "data")
    cfg = config(data, tmp_path / "runs", epochs=0)
    whole = run_training(cfg)
    places = whole.split.set_index("file")["fold"]
    file = places.index[places == 1][0]
    aside = (data / file).rename(tmp_path / "aside")
    reopened = json.loads((whole.path / "facts.json").read_text()) | {"status": "unfinished"}
    (whole.path / "facts.json").write_text(json.dumps(reopened))
    fold.undo(Run(whole.path / "fold-1"))
    less = run_training(going_on(cfg, resume_anyway=True))
    assert less.facts.held_out == whole.facts.held_out - 1
    aside.rename(data / file)
    (whole.path / "facts.json").write_text(json.dumps(reopened))
    capsys.readouterr()
    again = run_training(going_on(cfg))
    told = capsys.readouterr().out
    assert "fold-1: its photos or classes have changed; fitting it again" in told
    assert "1 of 1 to do" in told
    assert again.facts.held_out == whole.facts.held_out


def test_a_lean_run_of_folds_keeps_no_other_candidates(toy, tmp_path):
    run = run_training(config(toy, tmp_path, lean=True))
    assert not list(run.path.glob("*/candidates"))
    run_prediction(run, tmp_path / "s.csv", forecast=False)


def test_a_net_that_one_fold_lacks_is_kept_by_none_which_is_said(capsys):
    def one(name, *found):
        run = SimpleNamespace(path=Path(name))
        return SimpleNamespace(run=run, found=[SimpleNamespace(name=each) for each in found])

    folds = [one("fold-0", "probe"), one("fold-1", "probe", "fine-tuned")]
    assert assembling.shared(folds) == ["probe"]
    assembling.say_lacking(folds)
    assert "fold-0: no usable fine-tuned candidate" in capsys.readouterr().out


def test_a_refit_counts_among_what_the_hours_are_for(toy, tmp_path, monkeypatch):
    rounds = []
    monkeypatch.setattr(fold, "part_of", lambda hours, left, gone=False: rounds.append(left))
    run_training(config(toy, tmp_path, epochs=0, refit=True))
    assert rounds == [4, 3, 2]
