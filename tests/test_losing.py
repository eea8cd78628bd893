"""Nothing is lost: whatever ends a training, the run keeps all that was done by then."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
import torch
from conftest import run_prediction, run_training, toy_config
from fastai.callback.core import Callback

from vlg_fastai import commands
from vlg_fastai.cli import PreemptedError
from vlg_fastai.config import UserError
from vlg_fastai.model import inference
from vlg_fastai.runs.find import find, newest
from vlg_fastai.train import candidates, learner

REAL = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}


class Spoil(Callback):
    "Makes the loss of the training batches `numbers` NaN."

    order = 0  # before the loss is checked

    def __init__(self, numbers):
        self.numbers, self.batch = set(numbers), 0

    def after_loss(self):
        if self.training:
            self.batch += 1
            if self.batch in self.numbers:
                self.learn.loss_grad = self.learn.loss = self.loss * torch.nan


def spoilt(toy, tmp_path, monkeypatch, numbers, **options):
    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Spoil(numbers)))
    return run_training(toy_config(toy, tmp_path, **options))


def test_a_bad_batch_is_left_out_and_counted(toy, tmp_path, monkeypatch, capsys):
    run = spoilt(toy, tmp_path, monkeypatch, [2, 5], epochs=2)
    assert "skipped 2 batches" in capsys.readouterr().out
    assert (run.facts.status, run.facts.epochs, run.facts.model) == ("finished", 2, "fine-tuned")
    history = (run.path / "history.csv").read_text()
    assert ",," not in history  # the smoothed loss stays finite


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fit_of_bad_batches_ends_and_the_probe_is_there(
    toy, tmp_path, monkeypatch, capsys, precision
):
    ruin = {"epochs": 4, "precision": precision, **REAL}
    run = spoilt(toy, tmp_path, monkeypatch, range(1, 99), **ruin)
    told = capsys.readouterr().out
    assert "training diverged: keeping epoch 1" in told
    assert "probe" in [row["model"] for row in run.facts.candidates]
    assert newest(tmp_path).path == run.path
    assert run_prediction(run, tmp_path / "s.csv").exists()


def test_a_run_is_usable_from_its_probe_on(toy, tmp_path, monkeypatch):
    def dies(*given):
        raise MemoryError("as a kill would end it")

    monkeypatch.setattr("vlg_fastai.train.run.fine_tune", dies)
    with pytest.raises(MemoryError):
        run_training(toy_config(toy, tmp_path, **REAL))
    run = newest(tmp_path)
    assert (run.facts.status, run.facts.model) == ("unfinished", "probe")
    assert run_prediction(run, tmp_path / "s.csv").exists()


def test_what_was_fitted_is_there_although_the_choice_was_never_written(toy, tmp_path, monkeypatch):
    finish = "vlg_fastai.train.run.finish"
    from vlg_fastai.train.run import finish as real

    def dies(run, prepared, kept, known):
        if known["status"] != "unfinished":
            raise MemoryError("as a kill would end it")
        return real(run, prepared, kept, known)

    monkeypatch.setattr(finish, dies)
    with pytest.raises(MemoryError):
        run_training(toy_config(toy, tmp_path, **REAL))
    assert newest(tmp_path).facts.status == "unfinished"
    names = {path.name for path in (newest(tmp_path).path / "candidates").iterdir()}
    assert len(names) >= 3
    for name in names:
        assert run_prediction(find(tmp_path, [f"1:{name}"])[0], tmp_path / "s.csv").exists()


def test_want_of_memory_after_the_fit_costs_no_net(toy, tmp_path, monkeypatch, capsys):
    logits, sizes = inference.logits, []

    def small_memory(model, dl, machine, **given):
        sizes.append(dl.bs)
        if dl.bs > 2:
            raise torch.OutOfMemoryError
        return logits(model, dl, machine, **given)

    def no_memory(*given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(candidates.inference, "logits", small_memory)
    monkeypatch.setattr(candidates, "average", no_memory)
    run = run_training(toy_config(toy, tmp_path, choose="clean", **REAL))
    assert sizes == [8, 4, 2]
    assert "adding no more weight averages" in capsys.readouterr().out
    names = [row["model"] for row in run.facts.candidates]
    assert names[:3] == ["probe", "warm start", "fine-tuned"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_closed_terminal_leaves_a_usable_run(toy, tmp_path, monkeypatch):
    class Closed(Callback):
        def after_batch(self):
            os.kill(os.getpid(), signal.SIGHUP)

    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Closed()))
    with pytest.raises(PreemptedError, match="--resume 1"):
        run_training(toy_config(toy, tmp_path, epochs=9, **REAL))
    run = newest(tmp_path)
    assert run.facts.status == "unfinished"
    assert run_prediction(run, tmp_path / "s.csv").exists()


def test_a_reader_that_goes_away_does_not_end_the_work(toy, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vlg_fastai.console import say, show\n"
        "for i in range(20000): say('x' * 80)\n"
        "show('t', ['a'], [['b']])\n"
        "open(sys.argv[2], 'w').write('done')"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = tmp_path / "done.txt"
    command = [sys.executable, "-c", code, root, str(done)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(60)
    assert done.read_text() == "done"


@contextmanager
def limited(most):
    "Let no file grow beyond `most` bytes meanwhile, as on a full disk."
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
@pytest.mark.parametrize("most", [100, 1_000_000])
def test_a_full_disk_is_one_line_that_names_the_target(toy, tmp_path, capsys, most):
    given = ["--data", toy, "--runs", tmp_path, "--arch", "tf_efficientnet_lite0", "--size", 64]
    given += ["--epochs", 0, "--cache", "off", "--workers", 0]
    with limited(most), pytest.raises(SystemExit) as stop:
        commands.train([*map(str, given)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    last = error.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}")
    assert "free some space, or name another folder" in last
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
def test_a_cache_that_takes_nothing_more_costs_a_line_and_not_the_run(toy, tmp_path, capsys):
    given = ["--data", toy, "--runs", tmp_path, "--arch", "test_resnet", "--size", 32]
    given += ["--no-pretrained", "--epochs", 0, "--cache", tmp_path / "cache", "--workers", 0]
    with limited(60_000), suppress(SystemExit):  # nor can the run's weights be written
        commands.train([*map(str, given)])
    told = capsys.readouterr()
    assert "cannot be written" in told.out
    assert "Traceback" not in told.err


def test_too_little_room_is_said_before_the_work(toy, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match=r"--runs .*: 0.00 GB free, 0.33 GB needed"):
        run_training(toy_config(toy, tmp_path / "runs", **REAL))
    assert not list((tmp_path / "runs").iterdir())


def test_a_target_that_cannot_be_written_is_said_before_the_work(finished_run, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="--out .*cannot be written"):
        run_prediction(finished_run, tmp_path / "file" / "s.csv")


def test_nets_that_wait_leave_the_device_to_the_one_that_trains(toy, tmp_path, monkeypatch):
    moved, before, build, whole = [], [], learner.build, torch.nn.Module.to

    def watched(module, *given, **named):
        moved.append(given[0] if given else None)
        return whole(module, *given, **named)

    class Watch(Callback):
        def before_fit(self):
            before.extend(moved)
            moved.clear()

    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Watch()))
    monkeypatch.setattr(torch.nn.Module, "to", watched)
    run_training(toy_config(toy, tmp_path, **REAL))
    assert before.count("cpu") == 3  # frozen net, probe, warm start
    assert moved.count(torch.device("cpu")) >= 3  # back on the requested device
