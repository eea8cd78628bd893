"""Selecting a model: judged on photos and copies; a costlier one must win by more than noise."""

import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run_prediction, run_training, toy_config
from PIL import Image
from scipy.special import log_softmax, softmax

from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.data import degrade
from vlg_fastai.machine.device import Machine
from vlg_fastai.model import bundle, probe
from vlg_fastai.model.blend import Blend
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.find import find
from vlg_fastai.runs.run import Run
from vlg_fastai.train import choosing, result
from vlg_fastai.train.candidates import CHEAP, NET, NETS, Candidate

CPU = Machine(torch.device("cpu"), "fp32", 0)
REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}


def answers(y, right, sure=4.0, seed=0):
    "Logits (n, 3), of which a share `right` is correct."
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(y)) < right, y, (y + 1) % 3)
    return sure * np.eye(3)[said] + rng.normal(0, 0.3, (len(y), 3))


def candidate(name, clean, degraded=None, cost=NET):
    return Candidate(name, "linear", None, clean, degraded, cost=cost)


Y = np.arange(300) % 3


def test_degraded_copies_choose_another_model_than_clean_photos_do():
    good, brittle, sturdy = answers(Y, 0.9), answers(Y, 0.5, seed=1), answers(Y, 0.85, seed=2)
    clean = [candidate("a", good), candidate("b", sturdy)]
    robust = [candidate("a", good, brittle), candidate("b", sturdy, sturdy)]
    assert choosing.best(clean, Y, Y)[0].name == "a"
    kept, rows, _ = choosing.best(robust, Y, Y)
    assert kept.name == "b"
    assert rows[0]["accuracy"] > 0.85 > 0.6 > rows[0]["accuracy_degraded"]


def test_a_costlier_model_must_be_better_by_more_than_noise():
    plain = answers(Y, 0.9)
    hardly = plain + 0.02 * np.eye(3)[Y] + np.random.default_rng(5).normal(0, 0.8, plain.shape)
    better = answers(Y, 0.97, seed=3)
    told = [candidate("probe", plain, cost=CHEAP), candidate("x", hardly, cost=NETS)]
    assert choosing.best(told, Y, Y)[0].name == "probe"
    told[1] = candidate("x", better, cost=NETS)
    assert choosing.best(told, Y, Y)[0].name == "x"
    assert choosing.best(told[::-1], Y, Y)[0].name == "x"


def test_copies_of_one_photo_are_no_evidence():
    plain = answers(Y, 0.9)
    lucky = plain - 0.05 * np.eye(3)[Y]  # a little worse,
    lucky[:30] = 6 * np.eye(3)[Y[:30]]  # and much better on thirty copies of one photo
    told = [candidate("probe", plain, cost=CHEAP), candidate("x", lucky, cost=NET)]
    assert choosing.best(told, Y, np.arange(300))[0].name == "x"
    groups = np.where(np.arange(300) < 30, 0, np.arange(300))
    assert choosing.best(told, Y, groups)[0].name == "probe"


def test_the_nested_score_is_no_better_for_a_choice_among_equals():
    "The best of forty equals looks better than it is; choices made without the photo do not."
    flattered, honest = [], []
    for seed in range(12):
        y = np.random.default_rng(seed).integers(0, 3, 120)
        told = [candidate(f"m{i}", answers(y, 0.7, seed=100 * seed + i)) for i in range(40)]
        kept, rows, nested = choosing.best(told, y, np.arange(120))
        flattered.append(max(row["accuracy"] for row in rows if row["model"] == kept.name))
        honest.append(nested["accuracy"])
    assert np.mean(flattered) > 0.76
    assert abs(np.mean(honest) - 0.7) < 0.03


def test_families_of_degradation_share_no_member_and_copies_are_the_same_each_time():
    families = degrade.TRAINING, degrade.JUDGING, degrade.SHOWING
    assert len({f for family in families for f in family}) == sum(map(len, families))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))

    class Known:
        keys = {name: f"{name} content" for name in "abcdefgh"}

        def __call__(self, path):
            return photo

    for family in families:
        one, again = (degrade.DegradedPixels(Known(), family) for _ in range(2))
        random.seed(1)
        first = [one(name).tobytes() for name in "abcdefgh"]
        random.seed(2)
        assert first == [again(name).tobytes() for name in "abcdefgh"]
        assert len({*first, photo.tobytes()}) > 6


def test_copies_are_answered_by_probes_that_saw_neither_the_photo_nor_its_twin():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 64)).astype(np.float32)  # classes can only be memorized
    groups = np.repeat(np.arange(30), 2)
    x[1::2], y[1::2] = x[::2], y[::2]
    told = probe.elsewhere(x, np.arange(60), 100.0, (x, y, groups, 3, None))
    seen = probe.elsewhere(x, np.arange(60), 100.0, (x, y, np.arange(60), 3, None))  # twins split
    assert (told.argmax(1) == y).mean() < 0.6
    assert (seen.argmax(1) == y).mean() > 0.8


def test_a_blend_answers_with_the_mean_of_calibrated_probabilities():
    torch.manual_seed(0)
    one, other, x = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3), torch.randn(7, 5)
    with torch.inference_mode():
        made = Blend([one, other], (0.25, 0.75), (0.5, 2.0))(x).numpy()
        a, b = one(x).numpy(), other(x).numpy()
    wanted = 0.25 * softmax(a / 0.5, 1) + 0.75 * softmax(b / 2.0, 1)
    assert np.allclose(softmax(made, 1), wanted, atol=1e-6)
    assert np.allclose(log_softmax(made, 1), made, atol=1e-6)


@pytest.fixture(scope="module")
def blended(toy, tmp_path_factory):
    "A run that selected a blend, with its other candidates."
    with pytest.MonkeyPatch.context() as patch:
        best = choosing.best

        def chosen(found, y, groups, *more):
            _, rows, nested = best(found, y, groups)
            return found[-2], rows, nested

        patch.setattr(choosing, "best", chosen)
        return run_training(toy_config(toy, tmp_path_factory.mktemp("blend"), epochs=2, **REAL))


def test_a_run_that_keeps_a_blend_predicts_what_its_members_say(blended, toy, tmp_path):
    assert blended.facts.model == "blend 0.5"
    columns, logs = blended.facts.classes, []
    for name in ("blend 0.5", "probe", "fine-tuned"):
        (run,) = find(blended.path.parent, [f"1:{name}"])
        run_prediction(run, tmp_path / "s.csv")
        probs = pd.read_csv(tmp_path / "probabilities.csv")[columns].to_numpy()
        logs.append(np.log(probs) * run.facts.temperature)
    told = zip(logs[1:], blended.facts.members, strict=True)
    mean = sum(one["share"] * softmax(z / one["temperature"], 1) for z, one in told)
    assert np.allclose(softmax(logs[0], 1), mean, atol=1e-3)


def test_every_report_takes_a_blend(blended, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"device": "cpu", "precision": "fp32", "workers": 0}
    cfg = InterpretConfig(gradcam=(2,), top_losses=(2,), page=True, faithfulness=(2,), **given)
    assert all(path.exists() for path in interpret(cfg, [blended]))
    page = (blended.path / "reports" / "index.html").read_text()
    assert "blend 0.5" in page


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fine-tuned", "kept: fine-tuned, best epoch 3;"),
        ("average 0.5", "kept: weight average 0.5, its net is of epoch 3;"),
        ("blend 0.5", "kept: blend 0.5, its net is of epoch 3;"),
        ("warm start", "kept: warm start;"),
        ("probe", "kept: probe;"),
    ],
)
def test_an_epoch_is_told_of_models_that_have_one(blended, capsys, model, words):
    facts = dataclasses.replace(blended.facts, model=model, best_epoch=3)
    result.say_result(blended, facts)
    assert words in capsys.readouterr().out


def test_candidates_are_named_behind_the_run_and_what_is_none_is_said(blended):
    root = blended.path.parent
    assert find(root, ["1:blend 0.5"])[0].path == blended.path
    assert find(root, ["1:warm start"])[0].facts.model == "warm start"
    (kept,) = (path.name for path in (blended.path / "candidates").glob("average*"))
    asked = f"1:weight {kept.replace('_', ' ')}"  # as the terminal calls it
    assert find(root, [asked])[0].path.name == kept
    with pytest.raises(UserError, match="has no such candidate; it has blend 0.5, average"):
        find(root, ["1:blend 0.75"])
    with pytest.raises(UserError, match="no such run"):
        find(root, ["9:probe"])


def test_a_lean_run_keeps_the_chosen_model_alone(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path, lean=True, **REAL))
    assert not (run.path / "candidates").exists()
    assert len(run.facts.candidates) == 9


def test_a_damaged_member_of_a_blend_refuses_the_run(blended, tmp_path):
    import json
    import shutil

    copy = Run(tmp_path / "0001-copy")
    shutil.copytree(blended.path, copy.path)
    facts = json.loads((copy.path / "facts.json").read_text())
    facts["members"][0]["share"] = -1
    (copy.path / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="damaged.*members"):
        bundle.load(copy, CPU)


def test_clean_judges_by_the_photos_alone(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path, choose="clean", **REAL))
    assert all("nll_degraded" not in row for row in run.facts.candidates)


def test_where_a_fit_earned_nothing_the_last_lines_name_what_would(toy, tmp_path, capsys):
    ruin = {"lr": 0.5, "lr_body": 0.5, "choose": "clean"}
    run = run_training(toy_config(toy, tmp_path, **REAL, **ruin))
    assert run.facts.model in ("probe", "warm start")
    told = " ".join(capsys.readouterr().out.split())
    assert "gained nothing over the" in told
    assert f"python train.py --data {toy} --recipe strong" in told.split("gained nothing")[1]
