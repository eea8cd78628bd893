"""What only a real GPU can show; elsewhere these tests are skipped. Benchmarks say so too."""

import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_training, toy_config

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu as rows_on_gpu

ON_GPU = {"device": "cuda", "precision": "auto", "workers": None}


class TestOnGpu:
    "Tests with a card; the class only carries their marks."

    pytestmark = [
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    ]

    def test_a_gpu_trains_and_keeps_the_photos(self, toy, tmp_path, capsys):
        run = run_training(toy_config(toy, tmp_path, epochs=2, **ON_GPU))
        assert run.facts.status == "finished"
        assert "kept on cuda:0: " in capsys.readouterr().out

    def test_a_gpu_learns_what_a_cpu_learns(self, toy, tmp_path):
        real = {"arch": "tf_efficientnet_lite0", "pretrained": True, "epochs": 0}
        one, other = (
            run_training(toy_config(toy, tmp_path, **real, **more)) for more in ({}, ON_GPU)
        )
        assert np.isclose(one.facts.nll, other.facts.nll, atol=0.05)

    def test_the_same_seed_gives_the_same_run_where_sameness_is_asked_for(self, toy, tmp_path):
        cfg = toy_config(toy, tmp_path, deterministic=True, **ON_GPU)
        first, again = (run_training(cfg).path / "history.csv" for _ in range(2))
        losses = [np.genfromtxt(p, delimiter=",", skip_header=1)[1:4] for p in (first, again)]
        assert np.array_equal(*losses)

    def test_what_a_net_is_pulled_to_waits_in_main_memory(self, toy, tmp_path, monkeypatch):
        from vlg_fastai.train.anchor import PullToStart

        pulled, held = PullToStart.after_step, []

        def watched(self):
            pulled(self)
            held.extend((s.device.type, s.is_pinned()) for group in self.start for s in group)

        monkeypatch.setattr(PullToStart, "after_step", watched)
        run_training(toy_config(toy, tmp_path, l2_sp=3.0, ema=True, **ON_GPU))
        assert set(held) == {("cpu", True)}

    @pytest.mark.parametrize(
        "options", [{}, {"l2_sp": 3.0}, {"lr": "find"}, {"mixup": 0.4}, {"cutmix": 1.0}]
    )
    def test_nothing_waits_within_an_epoch(self, toy, tmp_path, monkeypatch, options):
        from vlg_fastai.train import learner

        build = learner.build

        def watched(*given):
            made = build(*given)
            batches = type(made).all_batches

            def all_batches(self):
                torch.cuda.set_sync_debug_mode("error" if self.training else "default")
                try:
                    batches(self)
                finally:
                    torch.cuda.set_sync_debug_mode("default")

            monkeypatch.setattr(type(made), "all_batches", all_batches)
            return made

        monkeypatch.setattr(learner, "build", watched)
        run = run_training(toy_config(toy, tmp_path, epochs=2, **options, **ON_GPU))
        assert run.facts.status == "finished"


def test_without_a_gpu_its_rows_are_there_and_empty(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = list(rows_on_gpu.rows(None, tmp_path, tmp_path, count()))
    assert len(rows) == 3 * len(rows_on_gpu.ARCHS) + 1
    lines = [rows_on_gpu.markdown(row) for row in rows]
    assert all(line.endswith("| no GPU here |  |  |") for line in lines)


def test_with_a_gpu_its_rows_compare_ours_plain_fastai_and_timm(monkeypatch, tmp_path):
    def call(script, who, *given):
        if str(script).endswith("train.py"):
            return {"wall": 9.0}
        factor = 1.0 if who == "plain" else 5.0
        return {**dict.fromkeys(rows_on_gpu.WHATS, factor), "card": "T4"}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(rows_on_gpu, "timms", lambda *given: 2.0)
    rows = list(rows_on_gpu.rows(call, tmp_path, tmp_path, count()))
    lines = [rows_on_gpu.markdown(row) for row in rows]
    name = "GPU, train, tf_efficientnet_lite0"
    assert lines[0] == f"| {name}: photos a second | 5 | 1 | 2 |"
    assert lines[1] == f"| {name}: share of the card's peak | 5 | 1 |  |"
    assert lines[-1].endswith("seconds to the first model | 9 |  |  |")


def test_operations_of_a_photo_are_three_forward_passes():
    forward = 2 * 4.45e9  # convnext_tiny at 224 px: 4.5 G multiply-adds (Liu et al., 2022)
    assert rows_on_gpu.operations("convnext_tiny") == pytest.approx(3 * forward, rel=0.05)
