"""A run stopped at any moment resumes as if it had never stopped, and holds the best so far."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import run_prediction, run_training, toy_config
from fastai.callback.core import Callback
from filelock import FileLock
from safetensors.torch import load_file

from vlg_fastai import commands
from vlg_fastai.cli import PREEMPTED, PreemptedError, parse
from vlg_fastai.config import TrainConfig, UserError
from vlg_fastai.machine import device, randomness
from vlg_fastai.model import sources
from vlg_fastai.runs import landing, resume
from vlg_fastai.runs.find import find, newest
from vlg_fastai.runs.run import Run
from vlg_fastai.train import checkpoint, trackers, trial
from vlg_fastai.train import run as running
from vlg_fastai.train.callbacks import Progress
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.plan import Plan
from vlg_fastai.train.prepare import prepare, settle_and_scan

ROOT = Path(__file__).parents[1]
REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
TIMED = ["seconds", "photos_per_second"]
EVERY = 1e-9  # minutes: after each batch
PLANS = {
    "mlp": {},
    "linear, average of weights": {"head": "linear", "ema": True, "keep": "last", "wd": 0.05},
    "mixup, strong augmentation": {"mixup": 0.4, "aug": "strong"},
    "oversampled, degraded": {"oversample": True, "aug": "degraded", "drop_path": 0.2},
    "frozen epochs": {"freeze_epochs": 2, "epochs": 2, "l2_sp": 3.0},
    "probe, soft targets": {**REAL, "probe": True, "warm_start": True, "targets": "soft",
                            "head": "linear", "freeze_bn": True, "layer_decay": 0.8,
                            "epochs": 2},
}  # fmt: skip


class KilledError(BaseException):
    "Not caught anywhere in the suite, just as nothing catches a kill."


def killed_at(batch, stop=None):
    "A callback that kills the run after that many training batches."

    class Kill(Callback):
        order, done = 100, 0

        def after_batch(self):
            if not self.training:
                return
            type(self).done += 1
            if self.done == batch:
                if stop is None:
                    raise KilledError
                os.kill(os.getpid(), stop)

    return Kill()


def raises(*given):
    raise KilledError


def config(toy, runs, **options):
    given = {"epochs": 3, "bs": 8, "checkpoint_minutes": 0.0, "patience": 9, **options}
    return toy_config(toy, runs, **given)


def going_on(cfg, **options):
    "The same config, with `--resume last`."
    import dataclasses

    return dataclasses.replace(cfg, resume="last", **options)


def left(run):
    "The selected weights, the history without times, and the facts."
    bits = {
        key: v.numpy().tobytes() for key, v in load_file(run.path / "model.safetensors").items()
    }
    history = pd.read_csv(run.path / "history.csv").drop(columns=TIMED)
    return bits, history.to_csv(), (run.facts.model, run.facts.best_epoch, run.facts.nll)


def stopped(cfg, callback, monkeypatch):
    "Start or resume the run of `cfg`, and have `callback` end it."
    whole = running.fine_tune

    def watched(prepared, learn, run, cbs, *more):
        return whole(prepared, learn, run, [*cbs, callback], *more)

    with monkeypatch.context() as patch:
        patch.setattr(running, "fine_tune", watched)
        with pytest.raises((KilledError, PreemptedError)):
            run_training(cfg)


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    "What the run of a plan leaves that was never stopped, and read its photos itself."

    @cache
    def of(plan):
        runs = tmp_path_factory.mktemp("whole")
        return left(run_training(config(toy, runs, **PLANS[plan])))

    return of


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("plan", PLANS)
def test_a_resumed_run_is_the_one_that_was_never_stopped(
    toy, tmp_path, monkeypatch, whole, plan, workers
):
    if workers and plan not in ("mlp", "oversampled, degraded"):
        pytest.skip("reading processes make no difference to the others")
    options = {**PLANS[plan], "workers": workers}
    at = {"mlp": 10, "frozen epochs": 5}.get(plan, 6)
    for minutes in (0.0, EVERY):  # from the end of an epoch, and from within one
        cfg = config(toy, tmp_path / str(minutes), checkpoint_minutes=minutes, **options)
        stopped(cfg, killed_at(at), monkeypatch)
        run = run_training(going_on(cfg))
        assert run.number == 1
        assert left(run) == whole(plan)
        assert not (run.path / "checkpoint").exists()
        assert len(run.facts.resumed_at) == 1


def test_a_run_stopped_twice_and_after_its_last_epoch_still_ends_the_same(
    toy, tmp_path, monkeypatch, whole
):
    cfg = config(toy, tmp_path / "parts")
    stopped(cfg, killed_at(7), monkeypatch)
    stopped(going_on(cfg), killed_at(3), monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(running, "choose", raises)
        with pytest.raises(KilledError):
            run_training(going_on(cfg))
    assert (
        checkpoint.read(tmp_path / "parts/0001-test_efficientnet/checkpoint")["place"]["epoch"] == 3
    )
    run = run_training(going_on(cfg))
    assert left(run) == whole("mlp")
    assert len(run.facts.resumed_at) == 3


def test_gradients_that_were_gathered_for_a_step_are_kept(toy, tmp_path, monkeypatch):
    def two_steps(cls, bs, kept):
        return cls(**kept["plan"]) if kept else cls(bs, 2)

    monkeypatch.setattr(Plan, "of", classmethod(two_steps))
    whole = run_training(config(toy, tmp_path / "whole"))
    cfg = config(toy, tmp_path / "parts", checkpoint_minutes=EVERY)
    stopped(cfg, killed_at(6), monkeypatch)  # the first of two batches of a step is done
    assert left(run_training(going_on(cfg))) == left(whole)


def test_an_epoch_goes_on_although_a_photo_of_it_is_gone(toy, tmp_path, monkeypatch):
    data = shutil.copytree(toy, tmp_path / "data")
    cfg = config(data, tmp_path / "runs", checkpoint_minutes=EVERY)
    stopped(cfg, killed_at(6), monkeypatch)
    for path in sorted((data / "train/frog").iterdir())[:3]:
        path.unlink()
    assert run_training(going_on(cfg, resume_anyway=True)).facts.status == "finished"


def test_a_tracker_that_refuses_a_resumed_run_leaves_its_folder(toy, tmp_path, monkeypatch):
    cfg = config(toy, tmp_path)
    stopped(cfg, killed_at(6), monkeypatch)

    def refuses(*given):
        raise UserError("--wandb p: no network")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", refuses)
    with pytest.raises(UserError, match="no network"):
        run_training(going_on(cfg, wandb="p"))
    assert run_training(going_on(cfg)).facts.status == "finished"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_polite_kill_keeps_the_batch_and_has_an_exit_code_of_its_own(
    toy, tmp_path, monkeypatch, whole, name
):
    cfg = config(toy, tmp_path / "parts")
    stopped(cfg, killed_at(6, getattr(signal, name)), monkeypatch)
    place = checkpoint.read(tmp_path / "parts/0001-test_efficientnet/checkpoint")["place"]
    assert place["train_iter"] in (6, 7)  # after this batch or the next
    assert left(run_training(going_on(cfg))) == whole("mlp")


def test_a_polite_kill_outside_the_fit_has_that_exit_code_as_well(toy, tmp_path, monkeypatch):
    def killed(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    cfg, before = config(toy, tmp_path), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(running, "choose", killed)
        with pytest.raises(PreemptedError, match=f"train.py --resume 1 --runs {tmp_path}"):
            run_training(cfg)
    assert signal.getsignal(signal.SIGTERM) is before
    assert run_training(going_on(cfg)).facts.status == "finished"


def test_a_fit_that_measures_leaves_nothing_behind_even_where_it_ends_badly(toy, tmp_path):
    cfg = config(toy, tmp_path)
    source = sources.choose(cfg.arch, cfg.weights, cfg.pretrained)
    cfg, scanned = settle_and_scan(cfg, source)
    learn = learner_for(prepare(cfg, source, scanned, device.prepare(cfg), None), source)
    before = {key: value.clone() for key, value in learn.model.state_dict().items()}
    numbers = randomness.state()
    with pytest.raises(KilledError), trial.undone(learn):
        learn.fit(1, cbs=[killed_at(3)])
    assert all(before[key].equal(value) for key, value in learn.model.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in learn.model.parameters())
    assert repr(randomness.state()) == repr(numbers)


def test_each_better_epoch_replaces_what_is_kept(toy, tmp_path, monkeypatch):
    given = {"head": "linear", "probe": True, "warm_start": True, "lr": 2e-2, "epochs": 4}
    cfg, seen = config(toy, tmp_path, **given, **REAL), []

    class Both(Callback):
        order = 2000

        def after_epoch(self):
            seen.append((self.learn.keep_better.least, self.learn.history.rows[-1]["nll"]))
            if len(seen) == 3:
                raise KilledError

    stopped(cfg, Both(), monkeypatch)
    run = newest(tmp_path)
    assert run.facts.status == "unfinished"
    best = min(nll for _, nll in seen)
    if run.facts.model == "fine-tuned":
        assert run.facts.nll == pytest.approx(best, abs=2e-3)
    else:
        assert best >= seen[0][0]
    assert run_prediction(run, tmp_path / "s.csv").exists()


def test_weights_and_facts_never_come_from_two_models(tmp_path):
    old, new = (
        {"model.safetensors": "a", "facts.json": "a"},
        {"model.safetensors": "b", "facts.json": "b"},
    )
    for dies in range(4):
        folder = tmp_path / str(dies)
        folder.mkdir()
        for name, text in old.items():
            (folder / name).write_text(text)
        waiting = folder / landing.NEXT
        waiting.mkdir()
        for name, text in list(new.items())[: min(dies, 2)]:
            (waiting / name).write_text(text)
        if dies == 3:  # during the move
            os.replace(waiting / "model.safetensors", folder / "model.safetensors")
        landing.land(folder)
        told = {name: (folder / name).read_text() for name in old}
        assert told == (new if dies >= 2 else old)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, capsys):
    import torch

    writer = checkpoint.Writer(tmp_path / "checkpoint")
    writer.keep({"a": torch.arange(3), "b": [1.5, None, {"c": torch.tensor(2.0)}]})
    writer.settle()
    first = checkpoint.places(tmp_path / "checkpoint")[0]
    shutil.copytree(first, first.with_name("000009"))
    (first.with_name("000009") / "state.safetensors").write_bytes(b"cut")
    told = checkpoint.read(tmp_path / "checkpoint")
    assert told["a"].tolist() == [0, 1, 2]
    assert told["b"][2]["c"].item() == 2.0
    assert "000009: damaged checkpoint" in capsys.readouterr().out


def test_options_that_would_change_the_run_are_refused_and_others_taken(toy, tmp_path, monkeypatch):
    cfg = config(toy, tmp_path)
    stopped(cfg, killed_at(6), monkeypatch)
    words = ["--runs", str(tmp_path), "--resume", "1"]
    read = lambda *more: parse(TrainConfig, [*words, *more], earlier=resume.earlier)  # noqa: E731
    assert read("--workers", "1").lr == cfg.lr
    resume.check_same(read("--workers", "1", "--device", "cpu", "--cache", "off"))
    with pytest.raises(UserError, match="--lr 0.5: the run was started with"):
        resume.check_same(read("--lr", "0.5"))
    with pytest.raises(UserError, match="--resume 7: no such run .* runs to resume: 0001"):
        parse(TrainConfig, ["--runs", str(tmp_path), "--resume", "7"], earlier=resume.earlier)


def test_photos_that_changed_are_named_and_left_out_only_when_asked(
    toy, tmp_path, monkeypatch, capsys
):
    data = shutil.copytree(toy, tmp_path / "data")
    cfg = config(data, tmp_path / "runs")
    stopped(cfg, killed_at(6), monkeypatch)
    gone, changed = sorted((data / "train/frog").iterdir())[:2]
    gone.unlink()
    changed.write_bytes(next((data / "test").iterdir()).read_bytes())
    shutil.copy(sorted((data / "test").iterdir())[-1], data / "train/frog/new.png")
    with pytest.raises(UserError, match="1 gone, e.g. .*; 1 changed, e.g. .*; 1 new, e.g."):
        run_training(going_on(cfg))
    before = pd.read_csv(tmp_path / "runs/0001-test_efficientnet/split.csv").set_index("file")[
        "split"
    ]
    run = run_training(going_on(cfg, resume_anyway=True))
    assert run.facts.photos["train"] + run.facts.photos["valid"] == (before != "unused").sum() - 2
    assert "left out: 1 gone" in capsys.readouterr().out


def test_other_trained_weights_are_refused_and_another_machine_is_said(
    toy, tmp_path, monkeypatch, capsys
):
    cfg = config(toy, tmp_path)
    stopped(cfg, killed_at(6), monkeypatch)
    here = checkpoint.circumstances_of
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "circumstances_of", lambda p: {**here(p), "weights": "others"})
        with pytest.raises(UserError, match="pretrained weights have changed since the run began"):
            run_training(going_on(cfg))
    monkeypatch.setattr(checkpoint, "circumstances_of", lambda p: {**here(p), "threads": 99})
    assert run_training(going_on(cfg)).facts.status == "finished"
    assert "not bit for bit: threads" in capsys.readouterr().out


def test_a_finished_run_says_so_and_one_that_trains_now_is_left_alone(toy, tmp_path, monkeypatch):
    run = run_training(config(toy, tmp_path, epochs=1))
    with pytest.raises(UserError, match="0001-test_efficientnet is finished; nothing to do"):
        resume.to_resume(tmp_path, "1")
    cfg = config(toy, tmp_path)
    stopped(cfg, killed_at(6), monkeypatch)
    there = resume.to_resume(tmp_path, "last")
    assert there.number == run.number + 1
    with (
        FileLock(there.path / resume.LOCK),
        pytest.raises(UserError, match="another process is training"),
    ):
        run_training(going_on(cfg))


def test_a_run_that_holds_nothing_yet_is_named_and_never_taken(toy, tmp_path, capsys):
    run = run_training(config(toy, tmp_path, epochs=1))
    (half := tmp_path / "0002-half").mkdir()
    shutil.copy(run.path / "config.json", half)
    assert newest(tmp_path).number == 1
    assert "0002-half is unfinished and has nothing to use" in capsys.readouterr().out
    with pytest.raises(UserError, match="train.py --resume 2"):
        find(tmp_path, ["2"])


def command(toy, runs, *more):
    given = ["--data", toy, "--runs", runs, "--arch", "test_efficientnet", "--no-pretrained"]
    given += ["--size", 32, "--bs", 8, "--epochs", 8, "--patience", 99, *more]
    return [sys.executable, str(ROOT / "train.py"), *map(str, given)]


def until(there, seconds=60):
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.02)
    assert there()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_killed_leaves_a_run_to_go_on_with_and_no_process(
    toy, tmp_path, capsys, stop
):
    given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    words = command(toy, tmp_path, "--workers", 2)
    with subprocess.Popen(words, start_new_session=True, **given) as process:
        until(lambda: list(tmp_path.glob("*/checkpoint/*/state.json")))
        if stop == signal.SIGTERM:
            os.killpg(process.pid, stop)  # like a scheduler: reading processes get it too
        else:
            process.send_signal(stop)
        error = process.communicate(timeout=60)[1]
    if stop == signal.SIGTERM:
        assert process.returncode == PREEMPTED
        assert "resume where it left off: train.py --resume 1" in error
    run = Run(next(tmp_path.glob("0001-*")))
    assert run.facts.status == "unfinished"
    until(lambda: not readers_of(tmp_path), 20)
    commands.train(["--runs", str(tmp_path), "--resume", "last", "--workers", "0"])
    assert "resuming after epoch" in capsys.readouterr().out
    assert Run(run.path).facts.status == "finished"
    assert not [path for path in run.path.rglob("*") if ".part" in path.name]


def readers_of(folder):
    "Processes whose command line names `folder`."
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline") if Path("/proc").is_dir() else ():
        try:
            found += [path] if str(folder) in path.read_text(errors="replace") else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("resumed", "told"), [(True, (4, 7, 5)), (False, (0, 7, 1))])
def test_the_batches_of_a_resumed_epoch_are_counted_from_where_it_stopped(resumed, told):
    class Dl:
        skipped = 4

        def __len__(self):
            return 7

    class Bar:
        def add_task(self, what, total, completed):
            self.total, self.begun = total, completed

        def update(self, task, completed):
            self.done = completed

    dl, bar = Dl(), Bar()
    dl.resumed = resumed
    progress = Progress(bar, 3)
    progress.learn = SimpleNamespace(dls=SimpleNamespace(train=dl), training=True, iter=0)
    progress.before_train()
    progress.after_batch()
    assert (bar.begun, bar.total, bar.done) == told
