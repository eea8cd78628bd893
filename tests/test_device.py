"""The choice of device and precision, with simulated devices."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.torch_core import default_device

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.machine import device
from vlg_fastai.machine.precision import callbacks

CUDA, CPU, MPS = (torch.device(kind) for kind in ("cuda", "cpu", "mps"))


@pytest.fixture
def machine(monkeypatch):
    "A function that simulates which accelerators exist, and which of them work."

    def pretend(cuda=False, mps=False, working=("cuda", "mps", "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        broken = "no kernel image is available"
        monkeypatch.setattr(device, "_problem", lambda d: None if d.type in working else broken)

    return pretend


def test_auto_takes_a_gpu_that_works(machine):
    machine(cuda=True)
    assert device.pick("auto") == torch.device("cuda", 0)
    machine(mps=True)
    assert device.pick("auto").type == "mps"
    machine()
    assert device.pick("auto") == CPU


def test_a_card_without_kernels_is_an_error_that_names_the_way_out(machine):
    machine(cuda=True, working=("cpu",))
    for asked in ("auto", "cuda", "cuda:1"):
        told = f"--device {'cuda' if asked == 'auto' else asked}: does not work here"
        with pytest.raises(UserError, match=told) as error:
            device.pick(asked)
        assert "has no kernels for it: on Kaggle, choose GPU T4 x2" in str(error.value)
        assert str(error.value).endswith("or give --device cpu")


def test_auto_leaves_an_apple_gpu_that_does_not_work_and_says_so(machine, capsys):
    machine(mps=True, working=("cpu",))
    assert device.pick("auto") == CPU
    assert "mps is available but does not work (no kernel image" in capsys.readouterr().out


def test_a_device_asked_for_that_does_not_work_is_an_error(machine):
    machine(working=("cpu",))
    with pytest.raises(UserError, match="--device mps: does not work here .*try --device cpu"):
        device.pick("mps")
    with pytest.raises(UserError, match="--device toaster: not a device"):
        device.pick("toaster")


def test_the_second_gpu_can_be_asked_for(machine):
    machine(cuda=True)
    assert device.pick("cuda:1") == torch.device("cuda", 1)


def test_a_real_operation_is_tried():
    assert device._problem(CPU) is None
    assert device._problem(torch.device("meta")) is not None


def test_precision_is_what_the_device_does_natively(monkeypatch):
    monkeypatch.setattr(device, "_cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert device.precision("auto", CPU) == "bf16"
    monkeypatch.setattr(device, "_cpu_flags", lambda: {"avx2"})
    assert device.precision("auto", CPU) == "fp32"
    assert device.precision("auto", MPS) == "fp32"


@pytest.mark.parametrize(
    ("capability", "native"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((12, 0), "bf16")]
)
def test_a_card_trains_in_bf16_from_ampere_on(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert device.precision("auto", CUDA) == native
    (callback,) = callbacks(device.Machine(CUDA, native, 0))
    assert callback.amp_mode is AMPMode(native)  # fastai scales gradients in fp16 alone
    if native == "bf16":
        assert device.precision("bf16", CUDA) == "bf16"
    else:
        with pytest.raises(UserError, match="--precision bf16: this GPU only emulates it.*fp16"):
            device.precision("bf16", CUDA)


@pytest.fixture
def libraries(monkeypatch):
    "Restores the settings of torch's libraries, and simulates a card."
    kept = torch.get_float32_matmul_precision()
    for name in ("allow_tf32", "benchmark", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(device, "_problem", lambda _: None)
    monkeypatch.setattr(device, "default_device", lambda _: None)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.set_float32_matmul_precision(kept)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("same", [False, True])
def test_a_gpu_is_fast_unless_sameness_is_asked_for(libraries, same):
    device.prepare(replace(PredictConfig(), deterministic=same, workers=0))
    cudnn = torch.backends.cudnn
    assert (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic) == (not same, not same, same)
    assert torch.get_float32_matmul_precision() == ("highest" if same else "high")
    assert torch.are_deterministic_algorithms_enabled() == same
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == same


def test_a_cpu_is_left_as_it_is(monkeypatch):
    settings = []
    monkeypatch.setattr(device.cuda, "settle", settings.append)
    for same in (False, True):
        device.prepare(replace(PredictConfig(), device="cpu", deterministic=same, workers=0))
    assert settings == []


def test_precision_that_the_device_lacks_is_an_error():
    with pytest.raises(UserError, match="--precision fp16: needs a CUDA GPU"):
        device.precision("fp16", CPU)
    with pytest.raises(UserError, match="--precision bf16"):
        device.precision("bf16", MPS)
    assert device.precision("fp32", CUDA) == "fp32"


def test_cpu_flags_are_read_where_there_are_any(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2 amx_bf16\n")
    assert "amx_bf16" in device._cpu_flags(tmp_path / "cpuinfo")
    assert device._cpu_flags(Path("no/such/file")) == set()


def test_workers_fit_the_machine(monkeypatch):
    for cores, on_gpu, on_cpu in ((2, 2, 0), (4, 4, 1), (16, 8, 4)):
        monkeypatch.setattr(device, "cpus", lambda cores=cores: cores)
        assert device.workers(None, CUDA) == on_gpu
        assert device.workers(None, CPU) == on_cpu
    assert device.workers(5, CPU) == 5


def test_windows_with_a_gpu_reads_in_its_own_process(monkeypatch):
    monkeypatch.setattr(device.sys, "platform", "win32")
    assert device.workers(None, CUDA) == 0


def test_batches_are_channels_last_but_on_mps():
    assert device.Machine(CUDA, "fp16", 0).memory_format is torch.channels_last
    assert device.Machine(MPS, "fp32", 0).memory_format is torch.contiguous_format


def test_fastai_is_told_of_the_device():
    machine = device.prepare(replace(PredictConfig(), device="cpu", workers=0))
    assert machine == device.Machine(CPU, device.precision("auto", CPU), 0)
    assert default_device() == CPU


def test_the_allocator_is_set_where_glibc_is():
    import platform

    assert device.keep_memory() == (platform.libc_ver()[0] == "glibc")


def test_precision_reaches_the_learner_as_fastais_own_callback():
    from vlg_fastai.machine.precision import Bf16OnCpu

    (fp16,), (bf16,), (on_cpu,) = (
        callbacks(device.Machine(where, kind, 0))
        for where, kind in ((CUDA, "fp16"), (CUDA, "bf16"), (CPU, "bf16"))
    )
    assert isinstance(fp16, MixedPrecision)
    assert fp16.amp_mode is AMPMode.FP16
    assert bf16.amp_mode is AMPMode.BF16
    assert isinstance(on_cpu, Bf16OnCpu)
    assert callbacks(device.Machine(CPU, "fp32", 0)) == []
