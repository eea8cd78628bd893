"""A GPU is never waited for within an epoch: what is read from it does not grow with batches."""

import threading
import traceback
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_training, toy_config
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from test_losing import spoilt
from torch.utils._python_dispatch import TorchDispatchMode

from vlg_fastai.console import bar
from vlg_fastai.machine import precision, transfer
from vlg_fastai.train import finder, learner, stopping
from vlg_fastai.train.measuring import CalibratedNLL, keep_on_device
from vlg_fastai.train.stopping import SkipOnDevice

READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")
# fastai's schedule computes a rate with tensors in main memory; a rectangle is drawn there
ON_HOST = {"_update_val", "rectangle"}
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal")


class Fp16OnCpu(precision.Fp16):
    "The same with the scaler and the autocast of a CPU, which has both."

    def before_fit(self):
        self.autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        self.learn.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    "Trains on the CPU with the callbacks of a GPU."
    monkeypatch.setattr(stopping, "SKIPS", {"cpu": SkipOnDevice})
    monkeypatch.setattr("vlg_fastai.train.finetune.SKIPS", {"cpu": SkipOnDevice})
    monkeypatch.setattr(precision, "callbacks", lambda machine: [Fp16OnCpu()])


class Reads(TorchDispatchMode):
    "Counts what would make the host wait for a GPU, by the function that asked."

    def __init__(self, monkeypatch):
        super().__init__()
        self.found, self.on = Counter(), True
        for name in READS:
            monkeypatch.setattr(torch.Tensor, name, self._counted(getattr(torch.Tensor, name)))

    def _counted(self, method):
        def wrapped(tensor, *given, **more):
            self._note()
            return method(tensor, *given, **more)

        return wrapped

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.__name__.split(".")[0] in WAITS:
            self._note()
        return function(*args, **(kwargs or {}))

    def _note(self):
        by = [frame.name for frame in traceback.extract_stack(limit=9)[::-1]]
        here = threading.current_thread() is threading.main_thread()  # not that of checkpoints
        if self.on and here and not ON_HOST & set(by):
            self.found[" < ".join(by)] += 1


class Watched(Callback):
    "Counts within a fit, from its first batch to its last."

    order = -2000

    def __init__(self, reads):
        self.reads = reads

    def before_fit(self):
        self.reads.found.clear()
        self.reads.on = True

    def after_fit(self):
        self.reads.on = False


def reads(toy, folder, monkeypatch, bs, **options):
    "(number of training batches, what was read during a fit)."
    build, batches = learner.build, []

    class Batches(Callback):
        def after_batch(self):
            batches.append(self.training)

    def loader(self):
        "Photos that are on the device already: reading them is measured elsewhere."
        torch.manual_seed(1)
        while len(self.ready) < 40:
            x, y = torch.randn(self.bs, 3, 32, 32), torch.randint(3, (self.bs,))
            self.ready.append((x, y))
        yield from self.ready[: len(self)]

    with monkeypatch.context() as patch, Reads(patch) as seen:
        seen.on = False
        watched = [Batches(), Watched(seen)]
        patch.setattr(learner, "build", lambda *given: build(*given).add_cbs(watched))
        patch.setattr("vlg_fastai.data.order.Placed.__iter__", loader)
        patch.setattr("vlg_fastai.data.order.Placed.ready", [], raising=False)
        run_training(toy_config(toy, folder, bs=bs, patience=9, **options))
    return sum(batches), seen.found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": True, "l2_sp": 0.1, "metric": "macro_f1"},
        {"precision": "bf16"},
        {"mixup": 0.4},
        {"cutmix": 1.0},
    ],
)
def test_what_is_read_from_the_device_does_not_grow_with_the_batches(
    toy, tmp_path, monkeypatch, as_on_a_gpu, options
):
    (few, some), (many, more) = (
        reads(toy, tmp_path / str(bs), monkeypatch, bs, **options) for bs in (16, 2)
    )
    assert many >= 4 * few
    grown = more - some
    assert not grown, grown


def test_the_count_sees_a_callback_that_reads_every_loss(toy, tmp_path, monkeypatch, as_on_a_gpu):
    class Nosy(Callback):
        def after_loss(self):
            float(self.learn.loss.detach())

    build = learner.build
    monkeypatch.setattr(learner, "build", lambda *given: build(*given).add_cb(Nosy()))
    (few, some), (many, more) = (reads(toy, tmp_path / str(bs), monkeypatch, bs) for bs in (16, 2))
    assert (more - some).total() >= many - few


def test_a_gpu_skips_bad_batches_as_a_cpu_does(toy, tmp_path, monkeypatch, capsys):
    on_cpu = spoilt(toy, tmp_path / "cpu", monkeypatch, [2, 5], epochs=2)
    monkeypatch.undo()
    monkeypatch.setattr("vlg_fastai.train.finetune.SKIPS", {"cpu": SkipOnDevice})
    on_gpu = spoilt(toy, tmp_path / "gpu", monkeypatch, [2, 5], epochs=2)
    assert capsys.readouterr().out.count("skipped 2 batches") == 2
    assert on_gpu.facts.nll == pytest.approx(on_cpu.facts.nll, rel=1e-5)


def test_a_gpu_ends_a_fit_of_bad_batches(toy, tmp_path, monkeypatch, capsys, as_on_a_gpu):
    real = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
    run = spoilt(toy, tmp_path, monkeypatch, range(3, 99), epochs=4, **real)
    assert "training diverged" in capsys.readouterr().out
    assert run.facts.model in ("probe", "warm start")


def test_gradients_that_overflow_cost_a_step_and_halve_the_scale():
    from test_optimizer import learner as toy_learner
    from test_optimizer import weights

    from vlg_fastai.train.optimizer import FusedAdamW

    learn, seen = toy_learner(FusedAdamW), []

    class Overflow(Callback):
        order = MixedPrecision.order - 1

        def before_step(self):
            seen.append((weights(self.learn), self.learn.scaler.get_scale()))
            if len(seen) == 2:
                next(self.model.parameters()).grad.fill_(torch.inf)

    learn.model.float()
    learn.dls = replace_batches(learn.dls)
    learn.fit(1, cbs=[Fp16OnCpu(), Overflow()])
    (_, first), (before, second), (after, third), *_ = seen
    assert torch.equal(before, after)
    assert (second, third) == (first, first / 2)
    assert not torch.equal(weights(learn), after)


def replace_batches(dls):
    "The same batches in fp32."
    from fastai.data.core import DataLoaders

    single = [(x.float(), y) for x, y in dls.train]
    return DataLoaders(single, single[:1], device="cpu")


def test_one_is_read_only_when_the_next_is_launched():
    log = []

    def launched():
        for i in range(3):
            log.append(f"launch {i}")
            yield i

    for i in transfer.one_behind(launched()):
        log.append(f"read {i}")
    assert log == ["launch 0", "launch 1", "read 0", "launch 2", "read 1", "read 2"]
    assert list(transfer.one_behind([])) == []


def test_a_tensor_on_its_way_waits_for_its_own_copy_alone(monkeypatch):
    events = []

    class Event:
        def record(self):
            events.append("recorded")

        def synchronize(self):
            events.append("waited")

    class OnGpu:
        is_cuda = True

        def to(self, where, non_blocking):
            events.append((where, non_blocking))
            return torch.ones(2)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    coming = transfer.Coming(OnGpu())
    assert events == [("cpu", True), "recorded"]
    assert coming.here.tolist() == [1, 1]
    assert events[-1] == "waited"


class Rising(Callback):
    "Replaces the smoothed loss of each batch by 2, 1, 1, 1, 9, 99, ..."

    order = 51  # right after Recorder

    def after_batch(self):
        loss = [2.0, 1.0, 1.0, 1.0, 9.0][min(self.train_iter, 5) - 1] * 11 ** (self.train_iter > 5)
        self.learn.smooth_loss = self.recorder.losses[-1] = torch.tensor(loss)


def test_the_finder_looks_at_a_loss_once_the_next_batch_is_launched(monkeypatch):
    from fastai.learner import Recorder
    from test_optimizer import learner as toy_learner

    from vlg_fastai.train.optimizer import FusedAdamW

    events = []

    class Logged(transfer.Coming):
        def __init__(self, tensor):
            events.append(("launched", float(tensor)))
            super().__init__(tensor)

        @property
        def here(self):
            events.append(("read", float(self.tensor)))
            return self.tensor

    monkeypatch.setattr(finder, "Coming", Logged)
    learn = toy_learner(FusedAdamW).add_cb(Recorder())
    learn.model.float()
    learn.dls, learn.logger = replace_batches(learn.dls), lambda row: None
    with bar() as live:
        learn.fit(5, cbs=[Rising(), finder.Sweep(20, live)])
    assert events[:4] == [("launched", 2), ("launched", 1), ("read", 2), ("launched", 1)]
    assert events[-2:] == [("launched", 99), ("read", 9)]
    assert [float(loss) for loss in learn.recorder.losses] == [2, 1, 1, 1, 9]
    assert len(learn.recorder.lrs) == 5


def test_losses_and_metrics_on_the_device_are_fastais_own(toy, tmp_path, monkeypatch):
    from vlg_fastai.train import measuring

    cfg = toy_config(toy, tmp_path, epochs=3)
    ours = (run_training(replace(cfg, runs=tmp_path / "ours")).path / "history.csv").read_text()
    from fastai.metrics import accuracy

    monkeypatch.setattr(learner, "keep_on_device", lambda recorder: None)
    monkeypatch.setattr(learner, "metrics_of", lambda metric: [CalibratedNLL(), accuracy])
    theirs = (run_training(cfg).path / "history.csv").read_text()
    histories = [np.genfromtxt(text.splitlines(), delimiter=",")[1:, :5] for text in (ours, theirs)]
    assert np.array_equal(*histories)
    assert keep_on_device is measuring.keep_on_device
