"""Write a run's net in timm's layout, config.json and model.safetensors, for `create_model`."""

import timm
import torch
from torch import nn

from vlg_fastai.model import backbone
from vlg_fastai.model.blend import Blend
from vlg_fastai.model.bundle import load, write_tensors
from vlg_fastai.model.sources import base_name
from vlg_fastai.runs.files import write_json

CROP_MODES = {"crop": "center", "squish": "squash", "pad": "border"}
CLOSE = 1e-4  # logits may differ by so much: the same layers in another order


def write(folder, run, machine):
    "Write both files; None, or why this run has no such form."
    if run.members:
        return f"{len(run.members)} nets are no single timm model"
    model, spec = load(run, machine)
    if isinstance(model, Blend):
        return f"a blend of {len(model.members)} nets is no single timm model"
    head = model[1]
    if len(head) != 1:
        return f"timm's classifiers are linear, the head is {spec.head}: train with --head linear"
    net = classifier_of(model[0].net, head[0], spec)
    if net is None or not same(net, model, spec):
        return f"{spec.arch} has a classifier of another form in timm"
    write_tensors(folder / "model.safetensors", net.state_dict())
    write_json(folder / "config.json", config(net, spec))
    return None


def classifier_of(body, linear, spec):
    """The timm model with the weights of `body` and of the `linear` head, divided by the
    temperature: its softmax is calibrated. None where timm's own head is no linear layer."""
    size = spec.view.size
    options = backbone.net_options(spec.arch, size)
    net = timm.create_model(spec.arch, num_classes=len(spec.classes), **options).eval()
    last = net.get_classifier()
    if not isinstance(last, nn.Linear) or last.weight.shape != linear.weight.shape:
        return None
    net.load_state_dict(body.state_dict(), strict=False)
    with torch.no_grad():
        last.weight.copy_(linear.weight / spec.temperature)
        last.bias.copy_(linear.bias / spec.temperature)
    return net


def same(net, model, spec):
    "Whether the timm model answers as the run's own model does."
    x = torch.rand(2, 3, spec.view.size, spec.view.size)
    with torch.inference_mode():
        ours = model.float().cpu()(x) / spec.temperature
        return bool((net(x) - ours).abs().max() < CLOSE * max(float(ours.abs().max()), 1))


def config(net, spec):
    "What timm reads from config.json (`timm.models.save_for_hf` writes the same keys)."
    own, view = net.pretrained_cfg, spec.view
    told = {
        "input_size": [3, view.size, view.size], "fixed_input_size": own.get("fixed_input_size"),
        "interpolation": view.interpolation, "crop_pct": view.crop_pct,
        "crop_mode": CROP_MODES[view.how],
        "mean": list(view.mean), "std": list(view.std), "num_classes": len(spec.classes),
        "pool_size": own.get("pool_size"), "first_conv": own.get("first_conv"),
        "classifier": own.get("classifier"),
    }  # fmt: skip
    return {
        "architecture": base_name(spec.arch), "num_classes": len(spec.classes),
        "num_features": net.num_features, "label_names": spec.classes,
        "model_args": backbone.net_options(spec.arch, view.size), "pretrained_cfg": told,
    }  # fmt: skip
