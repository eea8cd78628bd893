"""Runs: repeatable, interruptible, the best epoch kept, every option effective, all recorded."""

import dataclasses
import json
import os
import shutil
import signal
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import COLOURS, draw_folder, run_prediction, run_training, toy_config
from fastai.callback.core import Callback
from PIL import Image
from safetensors.torch import load_file, save_file

from vlg_fastai.cli import as_json, stored_config
from vlg_fastai.config import InterpretConfig, TrainConfig, UserError
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.demo import challenge
from vlg_fastai.machine import randomness
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.find import newest
from vlg_fastai.runs.run import Run, create
from vlg_fastai.train import beginning, callbacks, finder, finetune, learner
from vlg_fastai.train.measuring import CalibratedNLL

TIMED = ("seconds", "photos_per_second", "command")


def outcome(run):
    "All results of a run except times: facts, split, weights."
    facts = {key: value for key, value in run.facts.named().items() if key not in TIMED}
    weights = load_file(run.path / "model.safetensors")
    bits = {key: value.numpy().tobytes() for key, value in weights.items()}
    return facts, (run.path / "split.csv").read_text(encoding="utf-8"), bits


@pytest.fixture(scope="module")
def plain(toy, tmp_path_factory):
    "The result of a toy run with no option changed."
    return outcome(run_training(toy_config(toy, tmp_path_factory.mktemp("plain"))))


def test_the_same_seed_gives_the_same_run(toy, tmp_path, plain):
    assert outcome(run_training(toy_config(toy, tmp_path))) == plain


def test_a_run_repeated_from_its_stored_config_is_the_same(toy, tmp_path):
    first = run_training(toy_config(toy, tmp_path, seed=5, mixup=0.3))
    stored = stored_config(first.path, TrainConfig)
    again = run_training(TrainConfig(**{**stored, "runs": tmp_path / "again"}))
    assert outcome(again) == outcome(first)


CHANGES = {
    "epochs": 2, "arch": "test_resnet", "head": "linear", "bs": 4, "size": 48, "lr": 0.02,
    "lr_body": 0.02, "wd": 0.5, "label_smoothing": 0.0, "freeze_epochs": 1, "aug": "none",
    "mixup": 0.4, "cutmix": 1.0, "weighted": False, "oversample": True, "valid_pct": 0.4,
    "layer_decay": 0.5, "seed": 7, "precision": "bf16", "crop_pct": 0.5,
    "dropout": 0.1, "fit": "pad", "balance": "sqrt",
}  # fmt: skip
TESTED_ELSEWHERE = {
    "data": "every test here", "runs": "every test here",
    "workers": "test_who_reads_the_photos_makes_no_difference",
    **dict.fromkeys(("labels", "photos", "id_col", "label_col", "group_col"), "test_labels.py"),
    "folds": "test_folds.py", "refit": "test_folds.py", "devices": "test_folds.py",
    **dict.fromkeys(("extra", "pseudo"), "test_extra.py"),
    "hours": "test_hours.py", "checkpoint_minutes": "test_resuming.py",
    "resume": "test_resuming.py", "resume_anyway": "test_resuming.py",
    "config": "test_a_run_repeated_from_its_stored_config_is_the_same",
    "patience": "test_patience_ends_a_run_that_gets_no_better",
    "name": "test_the_name_is_that_of_the_folder",
    "tensorboard": "test_trackers.py", "wandb": "test_trackers.py",
    "probe": "test_probe.py", "warm_start": "test_probe.py", "cache": "test_store.py",
    "cache_gb": "test_store.py", "clear_cache": "test_store.py",
    "drop_path": "test_blocks_are_skipped_in_nets_that_have_some",
    "ema": "test_the_moving_average_is_what_is_validated_and_kept",
    "compile": "test_compiling_changes_nothing_but_the_speed",
    "dry_run": "test_a_dry_run_does_every_step_on_a_few_photos",
    "weights": "test_models.py::test_weights_of_a_file_are_taken",
    "pretrained": "test_trained_weights_are_used_unless_told_otherwise",
    "device": "test_device.py",
    "deterministic": "test_device.py::test_a_gpu_is_fast_unless_sameness_is_asked_for",
    "decisions": "test_decisions.py::"
    "test_training_and_prediction_replay_decisions_and_leave_every_photo",
    "keep": "test_targets.py::"
    "test_the_last_epoch_is_kept_where_held_out_photos_have_no_say",
    "targets": "test_targets.py", "freeze_bn": "test_targets.py", "l2_sp": "test_targets.py",
    "choose": "test_choosing.py::test_clean_judges_by_the_photos_alone",
    "lean": "test_choosing.py::test_a_lean_run_keeps_the_chosen_model_alone",
    "metric": "test_metrics.py",
    "recipe": "test_cli.py::test_a_recipe_sets_defaults_that_options_override",
}  # fmt: skip


@pytest.mark.parametrize("option", CHANGES)
def test_each_option_changes_what_comes_out(toy, tmp_path, plain, option):
    changed = outcome(run_training(toy_config(toy, tmp_path, **{option: CHANGES[option]})))
    assert changed[2] != plain[2]


def test_no_option_is_left_out_of_these_tests():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields == {*CHANGES, *TESTED_ELSEWHERE}


def test_who_reads_the_photos_makes_no_difference(toy, tmp_path, plain):
    read = outcome(run_training(toy_config(toy, tmp_path, workers=2)))
    assert read[1:] == plain[1:]
    assert read[0] == {**plain[0], "workers": 2}


def test_trained_weights_are_used_unless_told_otherwise(toy, tmp_path):
    options = {"arch": "tf_efficientnet_lite0", "warm_start": False}
    trained, untrained = (
        run_training(toy_config(toy, tmp_path, pretrained=answer, **options))
        for answer in (True, False)
    )
    assert trained.facts.weights["from"] == "bundled"
    assert untrained.facts.weights["from"] == "nothing"
    assert outcome(trained)[2] != outcome(untrained)[2]


def test_a_dry_run_does_every_step_on_a_few_photos(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vlg_fastai.train.prepare.FEW", 6)
    tried = run_training(toy_config(toy, tmp_path, dry_run=True, epochs=50, freeze_epochs=9))
    assert sum(tried.facts.photos.values()) == 6 * len(COLOURS)
    assert (tried.facts.status, tried.facts.epochs) == ("dry run", 3)
    assert tried.config["epochs"] == 50
    assert newest(tmp_path).path == tried.path
    assert "(dry run)" in capsys.readouterr().out
    assert len(run_prediction(tried, tmp_path / "s.csv").read_text().splitlines()) == 10
    whole = run_training(toy_config(toy, tmp_path))
    run_training(toy_config(toy, tmp_path, dry_run=True))
    assert newest(tmp_path).path == whole.path


def test_the_moving_average_is_what_is_validated_and_kept(toy, tmp_path, monkeypatch):
    seen = []

    class Watch(Callback):
        order = 99

        def after_epoch(self):
            seen.append([p.detach().clone() for p in self.model.parameters()])

    build = learner.build
    monkeypatch.setattr(callbacks, "HORIZON", 0.5)
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    run = run_training(toy_config(toy, tmp_path, ema=True, epochs=3, patience=3))
    kept = load_file(run.path / "model.safetensors")["1.5.weight"]
    own = [state[-2] for state in seen]  # between epochs the model has its own weights back
    assert [w.shape for w in own] == [kept.shape] * 3
    assert not any(torch.equal(kept, w) for w in own)


def test_a_moving_average_of_weights_that_stand_still_is_these_weights():
    from fastai.learner import Learner
    from fastai.test_utils import synth_dbunch

    net = torch.nn.Linear(1, 1)
    before = net.weight.detach().clone()
    learn = Learner(synth_dbunch(), net, loss_func=torch.nn.functional.mse_loss, lr=0.0)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, cbs=callbacks.MovingAverage(40))
    assert torch.allclose(net.weight, before)


def out_of_memory_above(bs, graphs=None):
    "A callback that runs out of memory in the forward pass of more than `bs` photos."

    class Full(Callback):
        order = -20

        def after_pred(self):
            if self.training and len(self.x) > bs:
                if graphs is not None:
                    graphs.append(weakref.ref(self.learn.pred))
                raise torch.OutOfMemoryError("CUDA out of memory")

    return Full()


def test_running_out_of_memory_halves_the_batch_and_accumulates(toy, tmp_path, monkeypatch, capsys):
    steps, build = [], learner.build

    class Steps(Callback):
        order = 99

        def after_step(self):
            steps.append(len(self.x))

    monkeypatch.setattr(
        learner, "build", lambda *given: build(*given).add_cbs([out_of_memory_above(4), Steps()])
    )
    run = run_training(toy_config(toy, tmp_path, bs=16, epochs=2, mixup=0.3))
    told = capsys.readouterr().out
    assert "out of memory with 16 photos at a time: starting again with 8, 2 batches" in told
    assert "out of memory with 8 photos at a time: starting again with 4, 4 batches" in told
    photos = run.facts.photos["train"]
    assert steps == [4] * (2 * (photos // 16))
    assert run.facts.status == "finished"


@pytest.mark.parametrize(("most", "steps"), [(99, 1), (8, 4), (5, 8)])
def test_as_many_photos_at_a_time_as_fit_are_found_without_failing(
    toy, tmp_path, monkeypatch, capsys, most, steps
):
    build, sizes = learner.build, []

    class Sizes(Callback):
        order = 99

        def after_batch(self):
            sizes.append((self.training, len(self.x)))

    made = [out_of_memory_above(most), Sizes()]
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cbs(made))
    run = run_training(toy_config(toy, tmp_path, bs="auto", epochs=2, targets="soft"))
    told, fit = capsys.readouterr().out, 32 // steps
    more = f", {steps} batches per step" if steps > 1 else "\n"
    assert f"--bs auto: {fit} photos at a time fit{more}" in told
    assert "starting again" not in told
    grown = [2**i for i in range(1, 6) if 2**i <= fit]
    trained = [size for training, size in sizes if training]
    assert trained == grown + [fit] * (len(trained) - len(grown))
    assert run.config["bs"] == "auto"
    assert run.facts.status == "finished"


def test_what_fits_makes_no_difference_to_the_fit_that_follows(toy, tmp_path):
    given, found = (
        outcome(run_training(toy_config(toy, tmp_path / str(bs), bs=bs))) for bs in (32, "auto")
    )
    assert given[2] == found[2]


def test_not_even_two_photos_that_fit_are_the_users_to_know(toy, tmp_path, monkeypatch):
    build = learner.build
    monkeypatch.setattr(
        learner, "build", lambda *given: build(*given).add_cb(out_of_memory_above(0))
    )
    with pytest.raises(UserError, match="--bs auto: not even two photos fit in memory"):
        run_training(toy_config(toy, tmp_path, bs="auto"))


def test_nothing_of_the_batch_that_failed_is_left(toy, tmp_path, monkeypatch):
    graphs, alive, build = [], [], learner.build

    class Watch(Callback):
        order = 99

        def before_train(self):
            alive.extend(ref() for ref in graphs)

    monkeypatch.setattr(
        learner,
        "build",
        lambda *given: build(*given).add_cbs([out_of_memory_above(4, graphs), Watch()]),
    )
    run_training(toy_config(toy, tmp_path, precision="bf16"))
    assert graphs
    assert alive == [None] * len(alive)  # otherwise its memory would still be in use
    assert torch.autocast_increment_nesting() == 1  # outside every autocast: cached casts are gone
    assert torch.autocast_decrement_nesting() == 0
    assert not torch.is_autocast_enabled("cpu")


def test_a_photo_too_large_for_the_memory_is_the_users_to_know(toy, tmp_path, monkeypatch):
    build = learner.build
    monkeypatch.setattr(
        learner, "build", lambda *given: build(*given).add_cb(out_of_memory_above(0))
    )
    with pytest.raises(UserError, match="--bs 8: not even two photos fit in memory"):
        run_training(toy_config(toy, tmp_path))


def test_compiling_changes_nothing_but_the_speed(toy, tmp_path, plain, monkeypatch):
    traced = []
    monkeypatch.setattr(
        beginning, "COMPILER", lambda graph, _: traced.append(graph) or graph.forward
    )
    compiled = outcome(run_training(toy_config(toy, tmp_path, compile=True)))
    assert traced
    assert compiled[2].keys() == plain[2].keys()
    assert compiled[0]["accuracy"] == plain[0]["accuracy"]


def test_each_stage_learns_slower_than_the_one_behind_it():
    rates = learner.stage_rates(1e-4, 2e-3, 0.5, 4)
    assert rates == [2.5e-5, 5e-5, 1e-4, 2e-3]
    assert learner.stage_rates(1e-4, 2e-3, 1.0, 2) == [1e-4, 2e-3]


@pytest.mark.parametrize("arch", ["test_efficientnet", "convnext_tiny", "vit_tiny_patch16_224"])
def test_stages_hold_every_parameter_once(arch):
    from vlg_fastai.model import head, sources

    net = timm.create_model(arch, num_classes=0, **({"img_size": 64} if "vit" in arch else {}))
    model = head.assemble(net, "mlp", 3, sources.Source(arch, "nothing"), 64)
    groups = learner.by_stage(model)
    flat = [id(p) for group in groups for p in group]
    assert len(groups) > 4
    assert sorted(flat) == sorted(id(p) for p in model.parameters())
    assert [id(p) for p in groups[-1]] == [id(p) for p in model[1].parameters()]


def test_a_dry_run_without_epochs_is_a_dry_run(toy, tmp_path):
    assert run_training(toy_config(toy, tmp_path, epochs=0, dry_run=True)).facts.status == (
        "dry run"
    )


def test_strong_crops_are_cut_from_finer_pixels(toy, tmp_path, monkeypatch):
    sides = []
    monkeypatch.setattr(Pixels, "_decode", lambda self, *_: sides.append(self.side))
    run_training(toy_config(toy, tmp_path, aug="strong"))
    assert sides[:2] == [32, 63]  # otherwise crops of a third of the area would be enlarged


def test_patience_ends_a_run_that_gets_no_better(toy, tmp_path, capsys):
    still = {"epochs": 12, "lr": 1e-9, "lr_body": 1e-9, "aug": "none"}
    run = run_training(toy_config(toy, tmp_path, patience=2, **still))
    assert 3 < run.facts.epochs < 12  # patience counts only after the peak, a quarter of the way
    told = capsys.readouterr().out
    assert "stopping early" in told
    assert f"epoch  {run.facts.epochs}/12  train_loss" in told  # the last epoch has a line too
    assert len(pd.read_csv(run.path / "history.csv")) == run.facts.epochs


def test_nothing_stops_early_after_the_last_of_all_epochs(toy, tmp_path, capsys):
    still = {"epochs": 3, "lr": 1e-9, "lr_body": 1e-9, "aug": "none", "patience": 2}
    run = run_training(toy_config(toy, tmp_path, **still))
    assert run.facts.epochs == 3
    assert "stopping early" not in capsys.readouterr().out


def test_the_best_epoch_is_kept_and_not_the_last(toy, tmp_path, monkeypatch):
    figures, weights = iter([1.0, 0.5, 0.7, 0.9]), []

    class Watch(Callback):
        order = 99

        def after_epoch(self):
            weights.append({k: v.clone() for k, v in self.model.state_dict().items()})

    build = learner.build
    monkeypatch.setattr(CalibratedNLL, "value", property(lambda self: next(figures)))
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    run = run_training(toy_config(toy, tmp_path, epochs=4, patience=4))
    assert run.facts.best_epoch == 2
    kept = load_file(run.path / "model.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in weights[1].items())
    assert not all(torch.equal(kept[key], value) for key, value in weights[3].items())


def test_the_finder_chooses_a_rate_and_leaves_the_rest_alone(toy, tmp_path, capsys):
    found = run_training(toy_config(toy, tmp_path, lr="find", bs=16))
    lr = found.facts.lr
    assert finder.LOWEST_LR <= lr <= finder.HIGHEST_LR
    told = capsys.readouterr().out
    assert f"learning rate found: {lr:.2g}; its curve is in {found.path / 'lr_find.png'}" in told
    with Image.open(found.path / "lr_find.png") as curve:
        assert curve.width > 400
    given = run_training(toy_config(toy, tmp_path, lr=lr, bs=16))
    assert outcome(given)[2] == outcome(found)[2]
    assert not list(found.path.rglob("*.pth"))


def test_the_finder_knows_soft_targets(toy, tmp_path):
    options = {"arch": "tf_efficientnet_lite0", "pretrained": True, "warm_start": False}
    run = run_training(toy_config(toy, tmp_path, lr="find", targets="soft", **options))
    assert finder.LOWEST_LR <= run.facts.lr <= finder.HIGHEST_LR


def test_the_finder_sees_few_photos_few_times_and_restores_every_generator(
    toy, tmp_path, monkeypatch
):
    batches, kept = [], []

    class Count(Callback):
        def after_batch(self):
            batches.append(self.training)

    def watched(learn, folder, live, cbs):
        numbers, weights = randomness.state(), learn.model.state_dict()
        weights = {key: value.clone() for key, value in weights.items()}
        learn.add_cb(counting := Count())
        lr = finder.find_lr(learn, folder, live, cbs)
        learn.remove_cb(counting)
        same = (torch.equal(weights[key], v) for key, v in learn.model.state_dict().items())
        kept.extend([randomness.state() == numbers, *same])
        return lr

    monkeypatch.setattr(learner, "find_lr", watched)
    run_training(toy_config(toy, tmp_path, lr="find", bs=32))
    assert 10 < len(batches) <= finder.LEAST
    assert all(batches)
    assert all(kept)


def test_the_head_learns_twenty_times_faster_than_a_trained_backbone(toy, tmp_path):
    options = {"arch": "tf_efficientnet_lite0", "pretrained": True, "warm_start": False}
    run = run_training(toy_config(toy, tmp_path, **options))
    assert (run.facts.lr, run.facts.lr_body) == (2e-3, pytest.approx(1e-4))


def test_frozen_epochs_train_the_head_alone(toy, tmp_path, monkeypatch):
    extractor = []

    class Watch(Callback):
        def before_train(self):
            extractor.append([p.requires_grad for p in self.model[0].net.conv_stem.parameters()])

    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    run = run_training(toy_config(toy, tmp_path, freeze_epochs=1, epochs=1))
    assert extractor == [[False], [True]]
    assert run.facts.epochs == 2


def test_the_run_folder_holds_everything(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path))
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.json", "history.csv", "valid.csv", "split.csv", "model.safetensors", "facts.json",
        "reports",
    }  # fmt: skip
    facts = run.facts
    for key in ("accuracy", "macro_f1", "nll", "nll_before", "ece", "ece_before", "temperature"):
        assert isinstance(getattr(facts, key), float), key
    assert set(facts.recall) == set(facts.classes) == set(COLOURS)
    assert torch.__version__.startswith(facts.versions["torch"])
    valid = pd.read_csv(run.path / "valid.csv")
    assert list(valid.columns) == ["file", "label", *facts.classes]
    assert np.allclose(valid[facts.classes].sum(axis=1), 1, atol=1e-5)
    guess = valid[facts.classes].idxmax(axis=1)
    assert (guess == valid["label"]).mean() == pytest.approx(facts.accuracy)


def test_the_stored_config_says_what_was_asked_and_reads_back_equal(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path, name="mine"))
    stored = TrainConfig(**stored_config(run.path, TrainConfig))
    assert as_json(stored) == json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert stored.data == toy.resolve()


def test_the_name_is_that_of_the_folder(toy, tmp_path):
    assert run_training(toy_config(toy, tmp_path, name="first try")).path.name == "0001-first_try"
    assert run_training(toy_config(toy, tmp_path)).path.name == "0002-test_efficientnet"


def interrupt_at(batch):
    "A callback that presses Ctrl-C in training batch number `batch`."

    class Interrupt(Callback):
        order, numbers = -5, count()

        def after_batch(self):
            if self.training and next(self.numbers) == batch:
                os.kill(os.getpid(), signal.SIGINT)

    return Interrupt()


@pytest.mark.parametrize(("batch", "epochs_done"), [(1, 0), (6, 1)])
def test_ctrl_c_leaves_a_usable_run(toy, tmp_path, monkeypatch, batch, epochs_done):
    build, handler = learner.build, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(interrupt_at(batch)))
    run = run_training(toy_config(toy, tmp_path, epochs=30, mixup=0.4))
    assert run.facts.status == "interrupted"
    assert run.facts.epochs == epochs_done
    assert run.facts.accuracy is not None
    assert (run.path / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_loss_that_is_no_number_is_the_users_to_know(toy, tmp_path):
    with pytest.raises(UserError, match="--lr 10: training diverged; try a tenth"):
        run_training(toy_config(toy, tmp_path, lr=10.0, lr_body=10.0, epochs=1, wd=1e30))


def test_a_class_without_validation_photos_has_a_blank_score(tmp_path):
    root = draw_folder(tmp_path / "d", dict(zip(COLOURS, (1, 8, 8), strict=True)))
    facts = run_training(toy_config(root, tmp_path / "runs")).facts
    blank = next(iter(COLOURS))
    assert facts.recall[blank] is None
    assert all(facts.recall[label] is not None for label in COLOURS if label != blank)


def test_a_folder_too_small_to_hold_out_anything_trains_all_the_same(tmp_path, capsys):
    root = draw_folder(tmp_path / "d", dict(zip(COLOURS, (1, 1, 1), strict=True)))
    run = run_training(toy_config(root, tmp_path / "runs", epochs=2))
    assert run.facts.accuracy is None
    assert run.facts.temperature == 1.0
    assert "the run has no score" in capsys.readouterr().out


def test_two_runs_at_once_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: create(tmp_path, f"r{i % 3}").path, range(40)))
    numbers = [path.name.split("-")[0] for path in made]
    assert len(set(numbers)) == 40


def test_the_calibrated_nll_does_not_mind_shyness():
    class Learn:
        y = torch.tensor([0, 1, 2, 0])

    bold = torch.tensor([[3.0, 0, 1], [1, 2, 0], [2, 0, 1.5], [0, 1, 0.5]])
    values = []
    for scale in (1.0, 0.1):
        metric = CalibratedNLL()
        metric.reset()
        Learn.pred = bold * scale
        metric.accumulate(Learn)
        values.append(metric.value)
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_a_later_validation_does_not_touch_the_best_weights(toy, tmp_path, monkeypatch):
    learners = []
    build = learner.build

    def building(*given):
        learners.append(build(*given))
        return learners[0]

    monkeypatch.setattr(learner, "build", building)
    run = run_training(toy_config(toy, tmp_path, epochs=2))
    (learn,) = learners
    with torch.no_grad():
        for p in learn.model.parameters():
            p.fill_(7.0)
    learn.validate()  # fastai's SaveModelCallback on the Learner would save these sevens
    assert all((p == 7.0).all() for p in learn.model.parameters())
    stored = load_file(run.path / "model.safetensors")
    assert not any((value == 7.0).all() for value in stored.values())


def test_names_that_are_no_valid_utf8_do_not_cost_the_run(tmp_path):
    root = draw_folder(tmp_path / "d", dict(zip(COLOURS, (6, 6, 6), strict=True)))
    odd = b"h\xf6hle".decode("utf-8", "surrogateescape")
    try:
        (root / "train" / "frog").rename(root / "train" / odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    run = run_training(toy_config(root, tmp_path / "runs"))
    assert odd in run.facts.classes
    made = interpret(InterpretConfig(), [run])
    assert all(path.exists() for path in made)
    written = run_prediction(run, tmp_path / "s.csv")
    assert len(written.read_bytes().splitlines()) == 10


@pytest.mark.slow
def test_the_three_commands_run_one_after_the_other(in_empty_folder, monkeypatch, capsys):
    import interpret as interpret_script
    import predict as predict_script
    import train as train_script

    monkeypatch.setattr(challenge, "SEEN", dict(list(challenge.SEEN.items())[:8]))
    monkeypatch.setattr(challenge, "BROKEN_IN", list(challenge.SEEN)[:2])
    monkeypatch.setattr(challenge, "FEWEST", 5)
    monkeypatch.setattr(challenge, "MOST", 7)
    monkeypatch.setattr(challenge, "TESTS", 5)
    train_script.main(["--epochs", "1", "--size", "64"])
    predict_script.main([])
    interpret_script.main(["--top-losses", "3"])
    with pytest.raises(SystemExit) as stop:
        interpret_script.main(["--run", "7"])
    assert stop.value.code == 2
    assert len(pd.read_csv("submission.csv")) == 5
    reports = in_empty_folder / "runs/0001-tf_efficientnet_lite0/reports"
    assert {path.name for path in reports.iterdir()} == {
        "batch.jpg", "top_losses.png", "top_losses.csv"
    }  # fmt: skip
    assert "--size 64 --epochs 1; the hub is not contacted" in capsys.readouterr().out


def test_a_net_that_is_worse_than_guessing_is_said_to_be_so(toy, tmp_path, capsys):
    run = run_training(toy_config(toy, tmp_path, lr=10, lr_body=10, epochs=2))
    assert run.facts.nll > np.log(3)
    assert "this model is worse than guessing (NLL 1.0986)" in capsys.readouterr().out
    run_prediction(run, tmp_path / "s.csv")
    assert "worse than guessing" in capsys.readouterr().out


def test_weights_that_are_no_numbers_are_never_kept(toy, tmp_path, monkeypatch, capsys):
    settle = finetune.Watch.settle

    def spoilt(watch, learn, lr):
        settle(watch, learn, lr)
        with torch.no_grad():
            next(learn.model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(finetune.Watch, "settle", spoilt)
    with pytest.raises(UserError, match=r"--lr 0.002: training diverged"):
        run_training(toy_config(toy, tmp_path / "alone"))
    assert newest(tmp_path / "alone").facts.status == "unfinished"  # from an earlier, better epoch
    probed = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
    run = run_training(toy_config(toy, tmp_path / "probe", **probed))
    assert run.facts.model in ("probe", "warm start")
    assert "discarding the fine-tuned net: it has non-finite weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [(["temperature"], 0, "temperature"), (["temperature"], float("nan"), "temperature"),
     (["temperature"], -1, "temperature"), (["temperature"], "hot", "temperature"),
     (["view", "std"], [0, 0.5, 0.5], "std"), (["view", "std"], [0.5], "std"),
     (["view", "mean"], [0.5, 0.5, None], "mean"), (["view", "size"], 0, "size"),
     (["view", "crop_pct"], 0, "crop_pct"), (["prior"], [0.5, 0.5], "prior"),
     (["prior"], [2, -1, 0], "prior"), (["classes"], ["frog"] * 3, "classes"),
     (["head"], "hydra", "head")],
)  # fmt: skip
def test_facts_that_cannot_be_refuse_the_run(toy, finished_run, tmp_path, path, value, named):
    copy = Run(shutil.copytree(finished_run.path, tmp_path / "0001-x"))
    facts = json.loads((copy.path / "facts.json").read_text())
    place = facts[path[0]] if len(path) > 1 else facts
    place[path[-1]] = value
    (copy.path / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=rf"0001-x: facts.json is damaged \(.*{named}"):
        run_prediction(copy, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_a_stored_model_of_no_numbers_refuses_the_run(finished_run, tmp_path):
    copy = Run(shutil.copytree(finished_run.path, tmp_path / "0001-x"))
    weights = load_file(copy.path / "model.safetensors")
    name = next(key for key, value in weights.items() if value.is_floating_point())
    weights[name] = torch.full_like(weights[name], torch.inf)
    save_file(weights, copy.path / "model.safetensors")
    with pytest.raises(UserError, match="it has non-finite weights"):
        run_prediction(copy, tmp_path / "s.csv")


def test_weights_to_start_from_must_be_numbers(toy, tmp_path):
    net = timm.create_model("test_efficientnet")
    state = {key: value * torch.nan for key, value in net.state_dict().items()}
    save_file(state, tmp_path / "nan.safetensors")
    options = {"weights": tmp_path / "nan.safetensors", "pretrained": True}
    with pytest.raises(UserError, match=r"nan.safetensors: non-finite numbers in conv_stem"):
        run_training(toy_config(toy, tmp_path / "runs", **options))


def test_a_few_photos_that_are_all_right_are_no_certainty(toy, tmp_path, capsys):
    run = run_training(toy_config(toy, tmp_path))
    low, high = run.facts.accuracy_interval
    assert 0 <= low < run.facts.accuracy < high <= 1
    assert high - low > 0.4  # seven photos
    told = f"accuracy {run.facts.accuracy:.4f} ({low:.3f} to {high:.3f}), NLL"
    assert told in capsys.readouterr().out


def test_dropout_is_of_either_head_and_leaves_its_weights_their_names(toy, tmp_path):
    options = {"head": "linear", "aug": "none"}
    plain, dropped = (
        outcome(run_training(toy_config(toy, tmp_path, dropout=p, **options)))[2] for p in (0, 0.5)
    )
    assert plain.keys() == dropped.keys()
    assert plain["1.0.weight"] != dropped["1.0.weight"]


def test_blocks_are_skipped_in_nets_that_have_some(toy, tmp_path):
    plain, skipping = (
        outcome(run_training(toy_config(toy, tmp_path, arch="test_resnet", drop_path=p)))[2]
        for p in (0, 0.5)
    )
    assert plain != skipping


def test_a_net_without_blocks_to_skip_says_so(toy, tmp_path):
    with pytest.raises(UserError, match="--drop-path: vgg11 has no blocks to skip"):
        run_training(toy_config(toy, tmp_path, arch="vgg11", drop_path=0.1))


def test_a_sheet_shows_training_photos_as_the_net_sees_them(toy, tmp_path, plain, capsys):
    run = run_training(toy_config(toy, tmp_path / "runs", dry_run=True, bs=4))
    path = run.path / "reports/batch.jpg"
    assert f"training photos as the net sees them: {path}" in capsys.readouterr().out
    with Image.open(path) as sheet:
        assert sheet.size == (4 * 164 - 4, 160)
        assert np.asarray(sheet).std() > 20
