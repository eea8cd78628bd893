"""Training targets and their sources: no held-out label reaches a net."""

import numpy as np
import pytest
import torch
from conftest import COLOURS, draw_folder, run_training, toy_config
from fastai.callback.core import Callback
from safetensors.torch import load_file

from vlg_fastai.model import backbone
from vlg_fastai.model.sources import choose
from vlg_fastai.recipes import NOT_MEASURED, RECIPES
from vlg_fastai.train import beginning, learner, targets
from vlg_fastai.train.anchor import FrozenStatistics
from vlg_fastai.train.finetune import Watch

REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
STRONG = {**RECIPES["strong"], **REAL, "epochs": 2, "lr": 1e-3, "lr_body": 1e-3}
FITTED = "candidates/fine-tuned/model.safetensors"


def own_sides(root, swapped):
    "A folder with its own valid side; two labels there are exchanged if `swapped`."
    draw_folder(root, dict.fromkeys(COLOURS, 10))
    first, second, _ = sorted(COLOURS)
    for label in COLOURS:
        told = {first: second, second: first}.get(label, label) if swapped else label
        (root / "valid" / told).mkdir(parents=True)
        for photo in sorted((root / "train" / label).iterdir())[:4]:
            photo.rename(root / "valid" / told / photo.name)
    return root


def test_held_out_labels_leave_every_fine_tuned_weight_as_it_is(tmp_path):
    runs = [
        run_training(toy_config(own_sides(tmp_path / name, swapped), tmp_path / "runs", **STRONG))
        for name, swapped in (("as it is", False), ("swapped", True))
    ]
    a, b = (load_file(weights_of(run)) for run in runs)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    probes = [row for run in runs for row in run.facts.candidates if row["model"] == "probe"]
    assert probes[0]["nll"] != probes[1]["nll"]  # the labels do differ, and they judge


def weights_of(run):
    kept = run.facts.model == "fine-tuned"
    return run.path / ("model.safetensors" if kept else FITTED)


def test_soft_targets_are_half_label_and_half_answer():
    probs = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    assert np.allclose(targets.soft(np.array([0, 1]), probs), [[0.9, 0.1], [0.45, 0.55]])


def test_cleaned_targets_take_the_answer_where_a_label_is_almost_surely_wrong():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(3), 40)
    probs = np.full((120, 3), 0.02) + rng.uniform(0, 0.01, (120, 3))
    probs[np.arange(120), true] = 0.95
    probs /= probs.sum(1, keepdims=True)
    y = true.copy()
    y[[0, 50]] = [1, 2]
    made = targets.cleaned(y, probs).argmax(1)
    assert (made == true).all()


class Seen(Callback):
    "Records the target of each training photo, along with its pixels."

    order = 95  # after Targets and MixUp

    def __init__(self):
        self.taught, self.validated = [], []

    def before_batch(self):
        (self.taught if self.training else self.validated).append((self.x, self.yb))


@pytest.mark.parametrize("drawn", [{}, {"weighted": False}, {"oversample": True}])
def test_each_photo_is_taught_its_own_target_however_it_is_drawn(toy, tmp_path, monkeypatch, drawn):
    seen = Seen()
    spread = np.linspace(0.1, 0.3, 3, dtype=np.float32)

    def marked(y, probs):  # a target that reveals the label without being one
        return np.eye(3, dtype=np.float32)[y] * 0.4 + spread

    monkeypatch.setitem(targets.TARGETS, "soft", marked)
    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(seen))
    kept = []

    def noted(prepared):
        kept.append((prepared, made := targets_of(prepared)))
        return made

    targets_of = targets.targets_of
    monkeypatch.setattr("vlg_fastai.train.beginning.targets_of", noted)
    given = {**REAL, "warm_start": False, "targets": "soft", "aug": "none", **drawn}
    run_training(toy_config(toy, tmp_path, **given))
    ((prepared, made),) = kept
    assert (made[prepared.held] == 0).all()
    assert np.allclose(made[~prepared.held], marked(prepared.labels[~prepared.held], None))
    for _, (target,) in seen.taught:
        label = np.eye(3)[target.numpy().argmax(1)]
        assert np.allclose(target.numpy(), label * 0.4 + spread, atol=1e-6)
    assert all(target.dtype == torch.int64 for _, (target,) in seen.validated)


def test_mixing_mixes_what_is_taught(toy, tmp_path, monkeypatch):
    seen, build = Seen(), learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(seen))
    given = {**REAL, "warm_start": False, "targets": "soft", "mixup": 0.4}
    run_training(toy_config(toy, tmp_path, **given))
    taught = torch.cat([target for _, (target,) in seen.taught])
    assert torch.allclose(taught.sum(1), torch.ones(len(taught)), atol=1e-5)


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_the_last_fifth_of_the_epochs_sees_whole_photos(toy, tmp_path, monkeypatch, option):
    mixed = []

    class Watch(Callback):
        order = 95

        def before_batch(self):
            if self.training:
                mixed.append((self.epoch, hasattr(self.loss_func, "__self__")))

    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    run_training(toy_config(toy, tmp_path, epochs=5, patience=9, **{option: 0.4}))
    assert {epoch for epoch, is_mixed in mixed if is_mixed} == {0, 1, 2, 3}
    assert {epoch for epoch, is_mixed in mixed if not is_mixed} == {4}


def test_without_a_trained_backbone_labels_are_taught_and_it_is_said(toy, tmp_path, capsys):
    run = run_training(toy_config(toy, tmp_path, targets="soft"))
    assert "no trained backbone to fit a probe on" in capsys.readouterr().out
    assert run.facts.epochs == 1


PREFIX = "0.net."  # of the backbone's tensors in a run's file


def trained():
    return backbone.trained(choose(REAL["arch"], None, True), 64).state_dict()


def backbone_of(data, runs, **options):
    "The backbone's tensors of a run without probe or warm start, under timm's names."
    run = run_training(toy_config(data, runs, probe=False, warm_start=False, **REAL, **options))
    made = load_file(run.path / "model.safetensors")
    return {key.removeprefix(PREFIX): made[key] for key in made if key.startswith(PREFIX)}


def test_the_statistics_of_the_backbone_stay_as_trained_where_asked(toy, tmp_path):
    net = trained()
    frozen, free = (backbone_of(toy, tmp_path, freeze_bn=answer) for answer in (True, False))
    keys = [key for key in frozen if "running_" in key]
    assert keys
    assert all(torch.equal(frozen[key], net[key]) for key in keys)
    assert not any(torch.equal(free[key], net[key]) for key in keys)
    assert not torch.equal(frozen["conv_stem.weight"], net["conv_stem.weight"])


def folded_norms(model):
    return [part for part in model.modules() if type(part).__name__ == "FoldedBatchNormAct2d"]


@pytest.mark.parametrize(("options", "phases"), [
    ({"freeze_epochs": 1}, [False, True]),  # a frozen convolution needs no gradient
    ({"compile": True}, [False]),
])  # fmt: skip
def test_what_is_frozen_or_compiled_is_not_folded(toy, tmp_path, monkeypatch, options, phases):
    seen, after = [], FrozenStatistics.after_fit
    monkeypatch.setattr(beginning, "COMPILER", lambda graph, _: graph.forward)
    monkeypatch.setattr(
        FrozenStatistics,
        "after_fit",
        lambda self: (seen.append(bool(folded_norms(self.model))), after(self)),
    )
    backbone_of(toy, tmp_path, freeze_bn=True, **options)
    assert seen == phases


def test_a_fit_that_breaks_off_leaves_plain_norms(toy, tmp_path, monkeypatch):
    nets, settle = [], Watch.settle
    monkeypatch.setattr(FrozenStatistics, "after_fit", lambda self: None)

    def watched(self, learn, lr):
        nets.append(bool(folded_norms(learn.model)))
        settle(self, learn, lr)
        nets.append(bool(folded_norms(learn.model)))

    monkeypatch.setattr(Watch, "settle", watched)
    backbone_of(toy, tmp_path, freeze_bn=True)
    assert nets == [True, False]


def test_frozen_norms_are_folded_as_long_as_the_fit_lasts(toy, tmp_path, monkeypatch):
    kinds, unfold = [], FrozenStatistics.after_fit

    def watched(self):
        for step in (lambda: None, lambda: unfold(self)):
            step()
            kinds.append({type(part).__name__ for part in self.model.modules()})

    monkeypatch.setattr(FrozenStatistics, "after_fit", watched)
    backbone_of(toy, tmp_path, freeze_bn=True)
    during, after = kinds
    assert "FoldedBatchNormAct2d" in during
    assert "BatchNormAct2d" not in during
    assert "BatchNormAct2d" in after
    assert not any(name.startswith("Fold") for name in after)


def test_a_pull_to_the_start_keeps_the_backbone_nearer_to_it(toy, tmp_path):
    net, away = trained(), []
    for strength in (0.0, 300.0):
        made = backbone_of(toy, tmp_path, l2_sp=strength, epochs=2, lr=0.02)
        weights = [key for key in made if key.endswith("weight")]
        away.append(sum(float((made[key] - net[key]).norm()) for key in weights))
    assert 0 < away[1] < 0.8 * away[0]


def test_the_last_epoch_is_kept_where_held_out_photos_have_no_say(toy, tmp_path, monkeypatch):
    states = []

    class Watch(Callback):
        order = 99

        def after_epoch(self):
            states.append(self.model[1][0].weight.detach().clone())

    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    options = {"probe": False, "warm_start": False, "head": "linear", "lr": 0.3, "epochs": 4}
    run = run_training(toy_config(toy, tmp_path, keep="last", patience=9, **options))
    kept = load_file(run.path / "model.safetensors")["1.0.weight"]
    assert torch.equal(kept, states[-1])
    assert run.facts.best_epoch is None


def test_the_strong_recipe_runs_with_nets_of_other_families_and_says_not_measured(
    toy, tmp_path, capsys
):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("convnext_atto").state_dict(), tmp_path / "net.safetensors")
    options = {**RECIPES["strong"], **NOT_MEASURED, "epochs": 2, "recipe": "strong"}
    weights = {"arch": "convnext_atto", "weights": tmp_path / "net.safetensors"}
    options |= {**weights, "pretrained": True, "size": 32}
    run = run_training(toy_config(toy, tmp_path / "runs", **options))
    assert "its values for convnext_atto are not measured" in capsys.readouterr().out
    assert len(run.facts.candidates) == 9
    assert run.facts.arch == "convnext_atto"
