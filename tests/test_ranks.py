"""Several processes train one net as one would, stop together, and tell the user once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ARCH, draw_folder, run_training, toy_config
from fastai.callback.core import Callback
from safetensors.torch import load_file

from vlg_fastai import api, commands, launch
from vlg_fastai.config import UserError
from vlg_fastai.data import loaders, order, scan, split
from vlg_fastai.data.folder import layout
from vlg_fastai.data.view import View
from vlg_fastai.machine import device, ranks
from vlg_fastai.machine.device import Machine
from vlg_fastai.machine.ranks import Ranks
from vlg_fastai.model.sources import Source
from vlg_fastai.runs.find import newest
from vlg_fastai.train import checkpoint, hours, plan, together
from vlg_fastai.train.run import train

ROOT = Path(__file__).parents[1]
TOY = {"arch": ARCH, "pretrained": False, "size": 32, "bs": 8, "device": "cpu",
       "precision": "fp32", "workers": 0}  # fmt: skip
# 22 steps, for which no process draws anything of its own
SAME = {"head": "linear", "freeze_bn": True, "dropout": 0.0, "aug": "none", "epochs": 6,
        "keep": "last", "choose": "clean", "lr": 5e-3, "lr_body": 5e-3}  # fmt: skip
BAD, FAILS, STOPS = (2, 3), 11, 18  # batches of 24 at which process 1 has such luck
TOLD = "the lens cap is on"
TWO = [Ranks(0, 2), Ranks(1, 2)]


class Spoilt(Callback):
    "What goes wrong in one process: bad losses, and more if it does not go `well`."

    order, run_valid = 10.5, False  # right before bad batches are looked for

    def __init__(self, how):
        self.how = how

    def after_loss(self):
        if self.train_iter in BAD:
            self.learn.loss = self.learn.loss * float("nan")

    def after_batch(self):
        if self.how == "fails" and self.train_iter == FAILS:
            raise ValueError(TOLD)
        if self.how == "stops" and self.train_iter == STOPS:
            os.kill(os.getpid(), signal.SIGINT)


def spoil(how):
    "Let every fit of this process have a `Spoilt` callback."
    from vlg_fastai.train import beginning

    made = beginning.in_step
    beginning.in_step = lambda *given: [*made(*given), Spoilt(how)]


def flags(options):
    "Options as they are written on a command line."
    for key, value in options.items():
        name = key.replace("_", "-")
        switch = isinstance(value, bool)
        yield f"--{'' if value or not switch else 'no-'}{name}{'' if switch else f'={value}'}"


def started(data, runs, how="well", **options):
    "Train with torchrun in two processes, which goes `how`; returns the ended torchrun."
    torchrun = "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"
    more = {**TOY, **SAME, "data": data, "runs": runs, "cache": runs / "cache", **options}
    words = [sys.executable, *torchrun, __file__, how, *flags(more)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def one(toy, tmp_path_factory):
    cfg = toy_config(toy, tmp_path_factory.mktemp("one"), **SAME)
    return train(cfg, Source(ARCH, "nothing"), [Spoilt("well")])


@pytest.fixture(scope="module")
def two(toy, tmp_path_factory):
    "(the same run by two processes, the ended torchrun)."
    runs = tmp_path_factory.mktemp("two")
    done = started(toy, runs)
    assert done.returncode == 0, done.stderr
    return newest(runs), done


def weights(run):
    return load_file(run.path / "model.safetensors")


def furthest(run, other):
    "The largest distance between two weights that two nets have in one place."
    pairs = zip(weights(run).values(), weights(other).values(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def figures(run):
    table = pd.read_csv(run.path / "history.csv")
    return table.drop(columns=["seconds", "photos_per_second"]).to_numpy()


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
class TestTwoProcesses:
    def test_they_learn_what_one_learns_in_twenty_steps(self, toy, tmp_path, one, two):
        begun = run_training(toy_config(toy, tmp_path, **{**SAME, "lr": 1e-9, "lr_body": 1e-9}))
        assert furthest(begun, one) > 0.01
        assert furthest(one, two[0]) < 1e-3
        assert np.allclose(figures(one), figures(two[0]), 0, 1e-3)  # validation is gathered

    def test_one_run_is_written_and_each_line_is_said_once(self, one, two):
        run, done = two
        files = [
            sorted(path.relative_to(home.path) for path in home.path.rglob("*"))
            for home in (one, run)
        ]
        assert files[0] == files[1]
        assert (one.facts.ranks, run.facts.ranks) == (1, 2)
        lines = Counter(line for line in done.stdout.splitlines() if line.strip())
        assert set(lines.values()) == {1}
        assert any(line.startswith("trained by 2 processes on cpu") for line in lines)
        assert not list(run.path.parent.glob("0002*"))

    def test_a_bad_loss_in_one_is_skipped_by_both(self, two):
        assert "skipped 2 batches: their loss was not finite" in two[1].stdout

    def test_a_failure_or_ctrl_c_in_one_ends_both_and_the_run_goes_on(
        self, toy, tmp_path, one, two
    ):
        done = started(toy, tmp_path, how="fails")
        assert done.returncode == 1
        assert done.stderr.count(f"\t{TOLD}") == 1
        assert "another process has failed or cannot be reached (" in done.stderr
        assert f": train.py --resume 1 --runs {tmp_path}" in done.stderr
        assert place(tmp_path)["epoch"] == 2

        done = started(toy, tmp_path, how="stops", resume="last")
        assert "resuming after epoch 2" in done.stdout
        assert done.stdout.count("stopping after this batch") == 1
        assert done.stderr.count("interrupted; ") == 1
        assert place(tmp_path)["train_iter"] == STOPS
        run = newest(tmp_path)
        assert np.array_equal(figures(run), figures(two[0])[:4])  # as if it had not failed

        run = run_training(toy_config(toy, tmp_path, resume="last", **SAME))  # by one process
        assert (run.facts.status, run.facts.ranks) == ("finished", 1)
        assert furthest(run, one) < 1e-3


def place(runs):
    "Where the only run in the folder `runs` will go on."
    (folder,) = runs.glob("0*")
    return checkpoint.read(folder / "checkpoint")["place"]


@pytest.fixture
def torchrun(monkeypatch):
    "A function that makes this process one of those that torchrun starts on a machine."

    def begun(number, count, beside=None):
        local = {"LOCAL_RANK": number, "LOCAL_WORLD_SIZE": beside or count}
        told = {"RANK": number, "WORLD_SIZE": count, "MASTER_ADDR": "localhost", **local}
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))

    return begun


@pytest.mark.parametrize(
    ("option", "value", "way"),
    [
        ("bs", "9", "must be a multiple of the 2 processes that share it"),
        ("bs", "2", "two photos or more for each; try --bs 4"),
        ("bs", "auto", "such as --bs 64"),
        ("folds", "3", "python train.py --folds 3 --devices cuda:0,cuda:1"),
        ("epochs", "0", "start it with python"),
    ],
)
def test_what_processes_cannot_share_is_one_line(torchrun, toy, capsys, option, value, way):
    torchrun(0, 2)
    given = {"data": toy, "arch": ARCH, "pretrained": False, option: value}
    with pytest.raises(SystemExit, check=lambda error: error.code == 2):
        commands.train(list(flags(given)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --{option} {value}: ")
    assert way in line


@pytest.mark.parametrize("name", sorted(set(commands.COMMANDS) - {"train"}))
def test_every_other_command_is_started_with_python(torchrun, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    for number, said in ((0, f"error: torchrun: shares the training of train.py alone; start"
                             f" {name}.py with python\n"), (1, "")):  # fmt: skip
        torchrun(number, 2)
        with pytest.raises(SystemExit, check=lambda error: error.code == 2):
            commands.COMMANDS[name]([])
        assert capsys.readouterr().err == said


def test_a_call_from_python_trains_in_one_process(torchrun, toy):
    torchrun(0, 2)
    with pytest.raises(UserError, match=r"start a call of train\(\) with python"):
        api.train(data=toy)


def test_each_process_takes_the_gpu_of_its_number(torchrun, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.own("auto") == "auto"
    torchrun(1, 4, beside=2)
    assert [device.own(option) for option in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(UserError, match="--device cuda:0: torchrun gives each process a device"):
        device.own("cuda:0")
    torchrun(2, 3)
    with pytest.raises(UserError, match="--nproc_per_node 3: each process needs a GPU of its own,"
                       " and there are 2 here; start 2"):  # fmt: skip
        device.own("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [device.own(option) for option in ("auto", "cpu")] == ["cpu", "cpu"]


def test_gradients_travel_by_nccl_between_gpus_and_by_gloo_elsewhere(monkeypatch):
    monkeypatch.setattr(ranks.distributed, "new_group", lambda backend, timeout: backend)
    ranks.wire.cache_clear()
    try:
        assert [ranks.wire(kind) for kind in ("cuda", "cpu")] == ["nccl", "gloo"]
    finally:
        ranks.wire.cache_clear()


def test_processes_share_the_cores_for_their_readers(torchrun, monkeypatch):
    monkeypatch.setattr(device, "cpus", lambda: 16)
    gpu = torch.device("cuda", 0)
    assert device.workers(None, gpu) == 8
    torchrun(0, 4)
    assert device.workers(None, gpu) == 4


def loader(data, group, **options):
    "The training loader of the process `group` in a fit, with what it hears from the first."
    cfg = toy_config(data, data, aug="none", **options)
    table = split.assign(scan.scan_classes(layout(data), None, cfg), 0.2, 1)
    table = table[table["split"] != "unused"].reset_index(drop=True)
    view = View(32, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    machine = Machine(torch.device("cpu"), "fp32", 0, group)
    classes = sorted(table["label"].unique())
    return loaders.build(table, classes, view, view.pixels(), machine, cfg)


@pytest.mark.parametrize("options", [{}, {"weighted": False}, {"oversample": True}])
def test_the_shares_of_an_epoch_are_slices_of_one_draw(toy, monkeypatch, options):
    said = []
    monkeypatch.setattr(Ranks, "told", lambda self, value: said.append(value) or said[0])
    shares = []
    for group in TWO:
        torch.manual_seed(group.number)  # generators differ: the first one's draw counts
        dls = loader(toy, group, **options)
        dls.train.told = True
        with order.shared(dls, group):
            shares.append(dls.train.get_idxs())
            assert len(shares[-1]) == len(dls.train) * dls.train.bs
            assert dls.train.bs == 4
        assert dls.train.bs == 8
    _, *drawn = said[0]
    whole = drawn[: len(drawn) // 8 * 8]
    assert [[item for _, item in share] for share in shares] == [whole[::2], whole[1::2]]
    assert not {seed for seed, _ in shares[0]} & {seed for seed, _ in shares[1]}
    if not options:  # some photos are drawn twice
        assert len(set(drawn)) < len(drawn)


def test_every_process_takes_as_many_steps_though_a_photo_is_gone(toy, tmp_path):
    folder = draw_folder(tmp_path / "few", {"frog": 12, "blue+whale": 12})
    counts = []
    for group in TWO:
        dls = loader(folder, group)
        with order.shared(dls, group):
            paths = dls.train.dataset.items["path"]
            gone = [path.rename(path.with_suffix(".gone")) for path in paths.iloc[:3]]
            counts.append([len(y) for _, y in dls.train])
        for path in gone:
            path.rename(path.with_suffix(".png"))
    assert counts[0] == counts[1] == [4] * (len(paths) // 8)


def test_validation_is_read_in_parts_that_follow_each_other(toy):
    parts = []
    for group in TWO:
        dls = loader(toy, group)
        with order.shared(dls, group):
            parts += [int(y) for _, batch in dls.valid for y in batch]
    assert parts == [int(y) for _, batch in loader(toy, TWO[0]).valid for y in batch]


def test_more_processes_than_photos_is_one_line(toy):
    with pytest.raises(UserError, match="20 processes cannot share 34 training photos"):
        loader(toy, Ranks(0, 20), bs=40)


def in_step(group, epoch=0, model=None):
    made = together.InStep(group, None, 42)
    made.learn = SimpleNamespace(epoch=epoch, model=model)
    return made


def test_each_process_draws_its_own_dropout_which_a_resumed_epoch_draws_again():
    def drawn(group, epoch):
        torch.manual_seed(5)
        in_step(group, epoch).before_train()
        return torch.rand(4).tolist()

    torch.manual_seed(5)
    first = torch.rand(4).tolist()
    assert [drawn(TWO[0], epoch) for epoch in (0, 1)] == [first, first]  # as without the others
    others = [drawn(TWO[1], 0), drawn(TWO[1], 1), drawn(Ranks(2, 3), 0)]
    assert len({tuple(one) for one in (first, *others)}) == 4
    assert drawn(TWO[1], 0) == others[0]


def test_running_statistics_are_averaged_before_validation():
    class Half(Ranks):
        "The other process has zeros."

        def _joined(self, tensor):
            return tensor

    norm = torch.nn.BatchNorm1d(2)
    norm.running_mean.fill_(4.0)
    in_step(Half(0, 2), model=torch.nn.Sequential(torch.nn.Linear(2, 2), norm)).before_validate()
    assert norm.running_mean.tolist() == [2.0, 2.0]
    assert norm.running_var.tolist() == [0.5, 0.5]


def test_time_is_that_of_the_first_process():
    limit = hours.InTime(1.0, 5, hours.After(0, 0), 1.0)
    limit.ranks, limit.a_photo = SimpleNamespace(told=lambda _: 3000.0), 0.0
    assert limit.left() == 600.0 - hours.LEAST


def test_a_process_without_memory_says_so_and_gradients_are_gathered_by_one_alone():
    machine = Machine(torch.device("cpu"), "fp32", 0, TWO[1])
    with pytest.raises(UserError, match="--bs 64: rank 1 of 2 ran out of memory on cpu"):
        together.check_memory(machine, 64)
    with pytest.raises(UserError, match="takes 4 batches per step, as a single process does"):
        together.check_alone(plan.Plan(8, 4), TWO[0])
    together.check_memory(Machine(torch.device("cpu"), "fp32", 0), 64)
    together.check_alone(plan.Plan(8, 4), ranks.ALONE)


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    if launch.follows():
        spoil(kind)
    commands.train()
