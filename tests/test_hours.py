"""A run with --hours ends in time, and its schedule ends with it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import run_training, toy_config
from fastai.callback.core import Callback
from test_resuming import KilledError, going_on, killed_at, left, raises, stopped

from vlg_fastai.config import TrainConfig
from vlg_fastai.train import hours
from vlg_fastai.train import run as running

REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 32, "choose": "clean"}


class Clock:
    "The clock of these fits: a test advances it, so a busy machine makes no difference."

    def __init__(self):
        self.now, self.timed = (
            0.0,
            0.02,
        )  # the latter: for a batch that only measures the time

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    "The process starts with the test, and little time is reserved."
    made = Clock()
    monkeypatch.setattr(hours, "time", made)
    monkeypatch.setattr(hours, "STARTED", 0.0)
    monkeypatch.setattr(hours, "LEAST", 0.1)
    monkeypatch.setattr(hours.Timed, "after_batch", timed(hours.Timed.after_batch, made))
    return made


def timed(method, clock):
    def after(self):
        clock.now += clock.timed
        return method(self)

    return after


class Paced(Callback):
    "A machine that takes `pause` seconds for a batch, and `later` for batches after `first`."

    order, run_valid = hours.InTime.order - 1, False

    def __init__(self, clock, first, pause, later):
        self.clock, self.first, self.pauses = clock, first, (pause, later)

    def after_batch(self):
        self.clock.now += self.pauses[self.train_iter > self.first]


def config(toy, runs, **options):
    return toy_config(toy, runs, **{"epochs": 6, "bs": 8, "patience": 99, **options})


def paced(cfg, clock, monkeypatch, *pace):
    "The history of the run of `cfg` on a machine of that pace."
    whole = running.fine_tune

    def watched(prepared, learn, run, cbs, *more):
        return whole(prepared, learn, run, [*cbs, Paced(clock, *pace)], *more)

    monkeypatch.setattr(running, "fine_tune", watched)
    return pd.read_csv(run_training(cfg).path / "history.csv")


def test_where_all_epochs_fit_the_run_is_the_one_without_a_limit(toy, tmp_path, capsys):
    free = run_training(config(toy, tmp_path / "free"))
    timed = run_training(config(toy, tmp_path / "timed", hours=1.0))
    assert left(timed) == left(free)
    assert "6 of 6 epochs fit" in capsys.readouterr().out


def test_where_no_epoch_fits_the_probe_is_kept(toy, tmp_path, capsys):
    cfg = config(toy, tmp_path, hours=1e-6, probe=True, warm_start=True, **REAL)
    run = run_training(cfg)
    assert run.facts.epochs == 0
    assert run.facts.model in ("probe", "warm start")
    assert "0 of 6 epochs fit" in capsys.readouterr().out


def test_frozen_epochs_end_in_time_as_well(toy, tmp_path, clock, monkeypatch, capsys):
    cfg = config(toy, tmp_path, freeze_epochs=4000, hours=8 / 3600)
    history = paced(cfg, clock, monkeypatch, 0, 0.05, 0.05)
    assert 7 < clock.now <= 8
    assert 20 < len(history) < 4000
    assert "of 4000 frozen epochs fit" in capsys.readouterr().out


@pytest.mark.parametrize("limit", [5.0, 5.3, 5.6, 5.9, 6.2])
def test_little_of_the_time_is_left_unused(toy, tmp_path, clock, monkeypatch, limit):
    batches, a_batch = 4, 0.3
    clock.timed = a_batch
    cfg = config(toy, tmp_path, epochs=60, hours=limit / 3600)
    history = paced(cfg, clock, monkeypatch, 0, a_batch, a_batch)
    assert limit - 0.75 * batches * a_batch < clock.now <= limit
    assert history["lr"].iloc[-1] < history["lr"].max() / 5


def test_a_machine_that_gets_slow_shortens_the_schedule_and_does_not_cut_it(
    toy, tmp_path, clock, monkeypatch, capsys
):
    cfg = config(toy, tmp_path, epochs=60, hours=8 / 3600)
    history = paced(cfg, clock, monkeypatch, 12, 0.02, 0.15)
    assert 7 < clock.now <= 8
    assert 3 < len(history) < 60
    assert history["lr"].iloc[-1] < history["lr"].max() / 10
    assert "epochs fit now" in capsys.readouterr().out


def test_an_epoch_that_takes_too_long_is_shorter_and_ends_low(toy, tmp_path, clock, monkeypatch):
    cfg = config(toy, tmp_path, epochs=2, bs=2, hours=6 / 3600)
    history = paced(cfg, clock, monkeypatch, 3, 0.1, 0.7)
    assert 5 < clock.now <= 6
    assert len(history) == 1
    assert history["lr"].iloc[-1] < 2e-3 / 3


def test_a_limit_for_what_is_left_of_a_run_bends_its_schedule(toy, tmp_path, clock, monkeypatch):
    cfg = config(toy, tmp_path, epochs=200)
    stopped(cfg, killed_at(22), monkeypatch)
    history = paced(going_on(cfg, hours=6 / 3600), clock, monkeypatch, 0, 0.05, 0.05)
    assert 5 < clock.now <= 6
    assert 10 < len(history) < 200
    assert history["lr"].iloc[-1] < history["lr"].max() / 10


def test_a_run_stopped_after_the_last_epoch_that_fits_trains_no_more(toy, tmp_path, monkeypatch):
    batches = 4

    def three_epochs(self):
        done = self.learn.train_iter if self.learn else 0
        return (3.2 - done / batches) * self.epoch_seconds(batches)

    monkeypatch.setattr(hours.InTime, "left", three_epochs)
    whole = run_training(config(toy, tmp_path / "whole", hours=1.0))
    cfg = config(toy, tmp_path / "parts", hours=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(running, "choose", raises)
        with pytest.raises(KilledError):
            run_training(cfg)
    assert left(run_training(going_on(cfg))) == left(whole)
    assert len(pd.read_csv(whole.path / "history.csv")) == 3


def test_a_resumed_run_goes_on_with_the_plan_that_was_made(toy, tmp_path, monkeypatch):
    whole = run_training(config(toy, tmp_path / "whole", hours=1.0))
    cfg = config(toy, tmp_path / "parts", hours=1.0)
    stopped(cfg, killed_at(9), monkeypatch)
    assert left(run_training(going_on(cfg))) == left(whole)


def test_photos_to_predict_are_counted_wherever_the_test_lies(toy, tmp_path):
    shutil.copytree(toy / "train", tmp_path / "training_set")
    shutil.copytree(toy / "test", tmp_path / "test_set")
    prepared = SimpleNamespace(cfg=TrainConfig(data=tmp_path), copies=None, held=np.ones(4, bool))
    assert hours.After.of(prepared) == hours.After(4 * hours.NETS, 9)
