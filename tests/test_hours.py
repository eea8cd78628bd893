"""A run with --hours ends in time, and its schedule ends with it."""

import time

import pandas as pd
import pytest
from conftest import run_training, toy_config
from fastai.callback.core import Callback
from test_resuming import KilledError, going_on, killed_at, left, raises, stopped

from vlg_fastai.train import hours
from vlg_fastai.train import run as running

REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 32, "choose": "clean"}


@pytest.fixture(autouse=True)
def now(monkeypatch):
    "The process starts with the test, and little is kept free."
    monkeypatch.setattr(hours, "STARTED", time.monotonic())
    monkeypatch.setattr(hours, "LEAST", 0.1)


class Slow(Callback):
    "A machine that gets slow."

    order, run_valid = 98, False

    def __init__(self, first, pause):
        self.first, self.pause = first, pause

    def after_batch(self):
        if self.train_iter > self.first:
            time.sleep(self.pause)


def config(toy, runs, **options):
    return toy_config(toy, runs, **{"epochs": 6, "bs": 8, "patience": 99, **options})


def slowed(cfg, monkeypatch, *how):
    whole = running.fine_tune

    def watched(prepared, learn, run, cbs, *more):
        return whole(prepared, learn, run, [*cbs, Slow(*how)], *more)

    monkeypatch.setattr(running, "fine_tune", watched)
    return run_training(cfg)


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


def test_frozen_epochs_end_in_time_as_well(toy, tmp_path, capsys):
    limit = 8.0
    cfg = config(toy, tmp_path, freeze_epochs=4000, hours=limit / 3600)
    run = run_training(cfg)
    assert time.monotonic() - hours.STARTED < limit + 0.5
    assert 1 < len(pd.read_csv(run.path / "history.csv")) < 4000
    assert "of 4000 frozen epochs fit" in capsys.readouterr().out


def test_a_machine_that_gets_slow_shortens_the_schedule_and_does_not_cut_it(
    toy, tmp_path, monkeypatch, capsys
):
    limit = 8.0
    cfg = config(toy, tmp_path, epochs=60, hours=limit / 3600)
    run = slowed(cfg, monkeypatch, 12, 0.15)
    assert time.monotonic() - hours.STARTED < limit
    history = pd.read_csv(run.path / "history.csv")
    assert 3 < len(history) < 60
    assert history["lr"].iloc[-1] < history["lr"].max() / 10
    assert "epochs fit now" in capsys.readouterr().out


def test_an_epoch_that_takes_too_long_is_shorter_and_ends_low(toy, tmp_path, monkeypatch):
    limit = 6.0
    cfg = config(toy, tmp_path, epochs=2, bs=2, hours=limit / 3600)
    run = slowed(cfg, monkeypatch, 3, 0.7)
    assert time.monotonic() - hours.STARTED < limit + 0.5
    history = pd.read_csv(run.path / "history.csv")
    assert len(history) == 1
    assert history["lr"].iloc[-1] < 2e-3 / 3


def test_a_limit_for_what_is_left_of_a_run_bends_its_schedule(toy, tmp_path, monkeypatch):
    cfg = config(toy, tmp_path, epochs=200)
    stopped(cfg, killed_at(22), monkeypatch)
    monkeypatch.setattr(hours, "STARTED", time.monotonic())
    run = run_training(going_on(cfg, hours=6 / 3600))
    history = pd.read_csv(run.path / "history.csv")
    assert 4 < len(history) < 200
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
