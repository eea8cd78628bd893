"""Set up the machine: allocator, a device that really works, native precision, workers."""

import ctypes
import multiprocessing
import os
import platform
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from fastai.torch_core import default_device

from vlg_fastai import launch
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.machine import cuda
from vlg_fastai.machine.ranks import ALONE, Ranks, join

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names and numbers of glibc's malloc.h
KEEP = 2**30  # bytes; a smaller freed block is kept for the next batch instead of returned
NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # names in /proc/cpuinfo on x86 and on ARM
MOST_WORKERS = 8


@dataclass(frozen=True)
class Machine:
    """What a command computes on: torch.device, precision and the number of reader processes.

    ranks: which of the processes that train one net together this one is.
    """

    device: torch.device
    precision: str
    workers: int
    ranks: Ranks = ALONE

    @property
    def memory_format(self):
        "Channels last, which convolutions on CPU and CUDA prefer; batch norm on MPS fails with it."
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last


def prepare(cfg):
    "Configure the allocator, settle what `cfg` leaves open and set fastai's default device."
    keep_memory()
    allow_files()
    if cfg.deterministic:
        cuda.ask_for_sameness()
    device = pick(own(cfg.device))
    if device.type == "cuda":
        torch.cuda.set_device(device)
        cuda.settle(cfg.deterministic)
    default_device(device.type != "cpu")
    if sys.platform.startswith("linux"):
        # Python 3.14 no longer forks, and each process would open fastai's GPU tensors for itself
        multiprocessing.set_start_method("fork", force=True)
    return Machine(device, precision(cfg.precision, device), workers(cfg.workers, device), join())


@contextmanager
def set_aside(models, machine):
    "Keep `models` in main memory while another one trains on the device of `machine`."
    for model in models:
        model.to("cpu")
    try:
        yield
    finally:
        for model in models:
            model.to(machine.device)


def keep_memory():
    """Tell glibc to keep freed tensors; True if it accepts.

    Training on CPU allocates and frees the same big blocks every batch. glibc returns each to the
    kernel and takes page faults to get it back: half the time at bs 32 and 224 px.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEEP) and libc.mallopt(M_TRIM_THRESHOLD, KEEP))


def allow_files():
    "Raise the limit on open files to the maximum: each cache segment is one, macOS grants 256."
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pick(option, given="--device"):
    """The torch.device that `option` names, after an operation on it worked.

    auto: the first GPU, else MPS if it works, else the CPU. A GPU that does not work is an error:
    hours on the CPU are not what its owner wants. given: name of the option in messages.
    """
    if option != "auto":
        return _asked(option, given)
    if torch.cuda.is_available():
        return _asked("cuda", given)
    if torch.backends.mps.is_available():
        problem = _problem(torch.device("mps"))
        if not problem:
            return torch.device("mps", 0)
        say(f"mps is available but does not work ({problem}); using the CPU")
    return torch.device("cpu")


def own(option):
    "What --device means to one of the processes that torchrun started: a GPU of its own, if any."
    number, count = launch.beside()
    if count == 1 and launch.processes() == 1:
        return option
    if option not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {option}: torchrun gives each process a device of its own; give"
                        " auto, cpu or cuda")  # fmt: skip
    if option == "cpu" or not torch.cuda.is_available():
        return "cpu" if option == "auto" else option
    gpus = torch.cuda.device_count()
    if number >= gpus:
        raise UserError(f"--nproc_per_node {count}: each process needs a GPU of its own, and there"
                        f" are {gpus} here; start {gpus}, or give --device cpu")  # fmt: skip
    return f"cuda:{number}"


def _asked(option, given):
    try:
        device = torch.device(option)
    except RuntimeError:
        raise UserError(f"{given} {option}: not a device; give auto, cpu, cuda or mps") from None
    problem = _problem(device)
    if problem:
        cure = f"{cuda.way_out(problem)}, or give" if device.type == "cuda" else "try"
        raise UserError(f"{given} {option}: does not work here ({problem}); {cure} {given} cpu")
    return torch.device(device.type, device.index or 0) if device.type != "cpu" else device


def _problem(device):
    "Why `device` cannot compute, or None. Kaggle's image, for one, has no kernels for its P100."
    try:
        x = torch.ones(8, 8, device=device)
        (x @ x).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def precision(option, device):
    "fp32, bf16 or fp16: what `option` asks for, or what `device` does natively, never emulated."
    if option == "auto":
        return _native(device)
    if option == "fp16" and device.type != "cuda":
        raise UserError(
            f"--precision fp16: needs a CUDA GPU, this is {device.type}; try bf16 or fp32"
        )
    if option == "bf16" and device.type == "mps":
        raise UserError("--precision bf16: not supported on mps; try fp32")
    if option == "bf16" and device.type == "cuda" and cuda.native(device) != "bf16":
        raise UserError("--precision bf16: this GPU only emulates it, slowly; try fp16")
    return option


def _native(device):
    if device.type == "cuda":
        return cuda.native(device)
    return "bf16" if device.type == "cpu" and NATIVE_BF16 & _cpu_flags() else "fp32"


def _cpu_flags(path=Path("/proc/cpuinfo")):
    if not path.exists():
        return set()
    return set(path.read_text(encoding="utf-8", errors="replace").split())


def workers(option, device):
    """Number of processes that read photos: as many as the cores run without contention.

    On a CPU the model needs the cores itself and reading takes a tenth of its time: with two cores
    a reader process made training slower (24-37 photos/s against 32-36, and less steady).
    """
    if option is not None:
        return option
    if sys.platform == "win32" and device.type == "cuda":
        return 0  # there, fastai's loaders cannot hand their GPU tensors to another process
    cores = max(cpus() // launch.beside()[1], 1)
    return min(cores, MOST_WORKERS) if device.type != "cpu" else min((cores - 1) // 2, 4)


def cpus():
    "Cores this process may use; a container often grants fewer than the machine has."
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
