"""Grad-CAM maps a second: ours in batches, pytorch-grad-cam photo by photo, in one run.

    python benchmarks/gradcam.py            # needs requirements-dev.txt

Uses random photos and untrained nets, which do not affect the time. Prints the median of `ROUNDS`
rounds with their range, and the ratio.
"""

import statistics
import time
from functools import partial

import timm
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from vlg_fastai.console import show
from vlg_fastai.machine.device import keep_memory
from vlg_fastai.model.backbone import Backbone
from vlg_fastai.report.gradcam import BATCH, maps

NETS = {
    "tf_efficientnet_lite0": lambda net: net.bn2,
    "convnext_tiny": lambda net: net.stages[-1],
    "resnet18": lambda net: net.layer4[-1],
}
PHOTOS, SIZE, CLASSES, ROUNDS = 32, 224, 40, 3


def ours(model, x):
    for batch in x.split(BATCH):
        maps(model, batch, torch.zeros(1, len(batch), dtype=torch.long))


def theirs(model, x, layer):
    with GradCAM(model=model, target_layers=[layer]) as cam:
        for photo in x:
            cam(input_tensor=photo[None], targets=[ClassifierOutputTarget(0)])


def rates(work):
    "Photos a second in each of `ROUNDS` rounds, after one to warm up."
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        found.append(PHOTOS / (time.perf_counter() - start))
    return found


def told(found):
    return f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})"


def main():
    keep_memory()
    rows = []
    for arch, layer in NETS.items():
        body = Backbone(timm.create_model(arch, num_classes=0))
        model = nn.Sequential(body, nn.Linear(body.width, CLASSES)).eval()
        x = torch.randn(PHOTOS, 3, SIZE, SIZE)
        slow = rates(partial(theirs, model, x, layer(model[0].net)))
        model.to(memory_format=torch.channels_last)  # as in interpret.py
        fast = rates(partial(ours, model, x.contiguous(memory_format=torch.channels_last)))
        ratio = statistics.median(fast) / statistics.median(slow)
        rows.append([arch, told(fast), told(slow), f"{ratio:.1f}"])
    show(f"Grad-CAM maps a second, {SIZE} px", ["net", "ours", "pytorch-grad-cam", "ratio"], rows)


if __name__ == "__main__":
    main()
