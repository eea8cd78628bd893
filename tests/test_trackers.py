"""Trackers see what history.csv sees; each takes one option, and none is required."""

import json

import pytest
from conftest import run_training, toy_config

from vlg_fastai import cli
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.runs.files import read_csv


def test_tensorboard_has_the_curves_the_options_and_the_figures(toy, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    run = run_training(toy_config(toy, tmp_path, epochs=2, tensorboard=True))
    events = accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    history = read_csv(run.path / "history.csv")
    told = [event.value for event in events.Scalars("nll")]
    assert told == pytest.approx(history["nll"].tolist(), rel=1e-5)
    assert len(events.Scalars("train_loss")) >= 2
    assert events.Scalars("kept/accuracy")[0].value == pytest.approx(run.facts.accuracy)
    assert any("hparams" in name for name in events.PluginTagToContent("hparams"))


def test_wandb_offline_keeps_config_curves_and_figures(toy, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged, kept, finish = [], {}, wandb.Run.finish
    log = wandb.Run.log

    def watch(self, data, *args, **options):
        logged.append(data)
        return log(self, data, *args, **options)

    def remember(self, *args, **options):
        kept.update(name=self.name, config=dict(self.config), summary=dict(self.summary))
        return finish(self, *args, **options)

    monkeypatch.setattr(wandb.Run, "log", watch)
    monkeypatch.setattr(wandb.Run, "finish", remember)
    run = run_training(toy_config(toy, tmp_path, epochs=2, freeze_epochs=1, wandb="toy"))
    assert kept["name"] == run.path.name
    assert kept["config"]["epochs"] == 2
    assert kept["summary"]["accuracy"] == pytest.approx(run.facts.accuracy)
    history = read_csv(run.path / "history.csv")
    seen = [row["nll"] for row in logged if "nll" in row]
    assert seen == pytest.approx(history["nll"].tolist(), rel=1e-5)
    assert list((run.path / "wandb").glob("offline-run-*"))


def test_a_run_that_breaks_off_is_no_finished_one_there(toy, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    codes, finish = [], wandb.Run.finish

    def remember(self, exit_code=None, **options):
        codes.append(exit_code)
        return finish(self, exit_code=exit_code, **options)

    def broken(*_):
        raise RuntimeError("full disk")

    monkeypatch.setattr(wandb.Run, "finish", remember)
    run_training(toy_config(toy, tmp_path, wandb="toy"))
    monkeypatch.setattr("vlg_fastai.train.run.finish", broken)
    with pytest.raises(RuntimeError, match="full disk"):
        run_training(toy_config(toy, tmp_path, wandb="toy"))
    assert codes == [0, 1]


def test_a_probe_alone_is_tracked_by_its_figures(toy, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    cfg = toy_config(toy, tmp_path, epochs=0, tensorboard=True, pretrained=True,
                     arch="tf_efficientnet_lite0")  # fmt: skip
    run = run_training(cfg)
    events = accumulator.EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert events.Scalars("kept/nll")[0].value == pytest.approx(run.facts.nll, rel=1e-5)


def test_tracking_changes_nothing_of_the_run(toy, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    plain, tracked = (
        run_training(toy_config(toy, tmp_path, epochs=2, tensorboard=answer))
        for answer in (False, True)
    )
    wanted = ["epoch", "train_loss", "valid_loss", "nll", "accuracy"]
    one, other = (read_csv(run.path / "history.csv")[wanted] for run in (plain, tracked))
    assert one.equals(other)
    assert not (plain.path / "tensorboard").exists()
    assert json.loads((tracked.path / "config.json").read_text())["tensorboard"] is True


@pytest.mark.parametrize("option", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_said_before_anything_else(
    option, tmp_path, monkeypatch
):
    (tmp_path / option).mkdir()  # W&B itself makes a folder of that name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(__import__("sys").modules, option, raising=False)
    cfg = TrainConfig(**{option: True if option == "tensorboard" else "project"})
    with pytest.raises(UserError, match=f"--{option}: needs a package: pip install {option}"):
        cli.check(cfg)
