"""Settle what depends on the NVIDIA card: its native precision, sameness, why it does not work."""

import os

import torch

BF16_FROM = (8, 0)  # compute capability (Ampere); older cards emulate bf16, slower than fp32
NO_KERNELS = "no kernel image"  # in the error of a card that this build of torch left out


def native(device):
    "bf16 where the card computes it itself: it needs no scaled gradients; else fp16."
    return "bf16" if torch.cuda.get_device_capability(device) >= BF16_FROM else "fp16"


def ask_for_sameness():
    "Give cuBLAS workspaces of a fixed size; it reads this before its first operation only."
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def settle(deterministic):
    """Use TF32 and the fastest algorithm per shape, or the same algorithm every time.

    An operation that has no deterministic algorithm warns and runs all the same.
    """
    torch.set_float32_matmul_precision("highest" if deterministic else "high")
    torch.backends.cudnn.allow_tf32 = not deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def way_out(problem):
    "What to do about a card that failed with the message `problem`."
    if NO_KERNELS not in problem:
        return "free or repair it"
    return f"torch {torch.__version__} has no kernels for it: on Kaggle, choose GPU T4 x2"
