"""Grad-CAM against libraries, against exact identities, and as pictures."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.data.images import BrokenImageError
from vlg_fastai.data.view import View
from vlg_fastai.machine.device import Machine
from vlg_fastai.model.backbone import Backbone
from vlg_fastai.report import examples, faithfulness, gradcam
from vlg_fastai.report.inputs import ReportInputs
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.predictions import HeldOut

CPU = Machine(torch.device("cpu"), "fp32", 0)
CONVOLUTIONAL = {
    "convnext_atto": lambda net: net.stages[-1],
    "tf_efficientnet_lite0": lambda net: net.bn2,
    "resnet18": lambda net: net.layer4[-1],
    "mobilenetv3_small_100": lambda net: net.blocks[-1],
}


def model_of(arch, head=None, size=96):
    "An untrained [Backbone, head] with five classes whose batch norms have seen some photos."
    torch.manual_seed(0)
    options = {"img_size": size} if "vit" in arch or "swin" in arch else {}
    body = Backbone(timm.create_model(arch, num_classes=0, **options))
    model = nn.Sequential(body, head or nn.Linear(body.width, 5))
    with torch.no_grad():
        model.train()(torch.randn(8, 3, size, size))
    return model.eval(), torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def library(model, x, targets, layer, reshape=None):
    "pytorch-grad-cam's maps before ReLU and scaling, at the size of the layer."
    seen = {}

    class Raw(GradCAM):
        def get_cam_image(self, *given, **more):
            seen["raw"] = super().get_cam_image(*given, **more)
            return seen["raw"]

    with Raw(model=model, target_layers=[layer], reshape_transform=reshape) as cam:
        cam(input_tensor=x, targets=[ClassifierOutputTarget(int(t)) for t in targets])
    return seen["raw"]


def agree(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 0
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_maps_of_convolutional_nets_are_the_librarys(arch):
    model, x = model_of(arch)
    targets = torch.tensor([0, 3, 4])
    raw, _ = gradcam.maps(model, x, targets[None])
    agree(raw[0].numpy(), library(model, x, targets, CONVOLUTIONAL[arch](model[0].net)))


def test_maps_of_vit_are_the_librarys():
    model, x = model_of("vit_tiny_patch16_224")
    targets = torch.tensor([0, 3, 4])
    raw, _ = gradcam.maps(model, x, targets[None])

    def reshape(tokens):
        return tokens[:, 1:].reshape(len(tokens), 6, 6, -1).permute(0, 3, 1, 2)

    agree(raw[0].numpy(), library(model, x, targets, model[0].net.blocks[-1].norm1, reshape))


def test_maps_of_swin_are_the_librarys():
    model, x = model_of("swin_tiny_patch4_window7_224")
    targets = torch.tensor([0, 3, 4])
    raw, _ = gradcam.maps(model, x, targets[None])
    layer = model[0].net.layers[-1]
    agree(raw[0].numpy(), library(model, x, targets, layer, lambda v: v.permute(0, 3, 1, 2)))


@pytest.mark.parametrize("arch", ["resnet18", "convnext_atto"])
def test_captum_says_the_same(arch):
    from captum.attr import LayerGradCam

    model, x = model_of(arch)
    targets = torch.tensor([0, 3, 4])
    theirs = LayerGradCam(model, CONVOLUTIONAL[arch](model[0].net)).attribute(x, targets)
    raw, _ = gradcam.maps(model, x, targets[None])
    agree(raw[0].numpy(), theirs[:, 0].detach().numpy())


def test_behind_a_norm_the_map_has_no_mean():
    model, x = model_of("convnext_atto")  # pool, LayerNorm, linear
    raw, _ = gradcam.maps(model, x, torch.tensor([[1, 2, 3]]))
    assert (raw.mean((2, 3)).abs() / raw.abs().amax((2, 3))).max() < 1e-4


@pytest.mark.parametrize("arch", ["resnet18", "tf_efficientnet_lite0"])
def test_behind_a_pool_and_a_linear_layer_the_map_adds_up_to_the_logit(arch):
    model, x = model_of(arch)
    targets = torch.tensor([[1, 2, 3]])
    raw, z = gradcam.maps(model, x, targets)
    expected = z.gather(1, targets.T)[:, 0] - model[1].bias[targets[0]]
    assert torch.allclose(raw[0].sum((1, 2)), expected, atol=1e-4)


def test_a_batch_is_explained_as_its_photos_one_by_one():
    model, x = model_of("tf_efficientnet_lite0")
    both, _ = gradcam.maps(model, x, torch.tensor([[0, 1, 2], [2, 2, 2]]))
    for i in range(3):
        alone, _ = gradcam.maps(model, x[i : i + 1], torch.tensor([[i], [2]]))
        assert torch.allclose(both[:, i : i + 1], alone, atol=1e-4)


def test_explaining_leaves_the_model_as_it_was():
    model, x = model_of("vit_tiny_patch16_224")
    model[0].requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        z = model(x)
    _, same = gradcam.maps(model, x, torch.tensor([[0, 0, 0]]))
    assert torch.allclose(z, same, atol=1e-5)
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    assert not model[0].net.blocks[-1].norm1._forward_hooks


def test_a_net_without_maps_is_named():
    model, x = model_of("mixer_s32_224", size=224)
    model[0].net.patch_embed = None
    with pytest.raises(UserError, match="--gradcam: MlpMixer has no feature maps"):
        gradcam._spatial(torch.zeros(1, 4), model[0].net)


def test_the_photo_stays_as_it_is_where_nothing_speaks_for_the_class():
    photo = Image.effect_noise((64, 64), 80).convert("RGB")
    raw = np.full((4, 4), -1.0)
    assert np.array_equal(np.asarray(gradcam.overlay(photo, raw)), np.asarray(photo))
    raw[0, 0] = 1.0
    mixed = np.asarray(gradcam.overlay(photo, raw)).astype(int)
    assert np.abs(mixed - np.asarray(photo))[:8, :8].mean() > 20
    assert np.array_equal(mixed[40:, 40:], np.asarray(photo)[40:, 40:])


def test_a_map_is_scaled_by_its_own_largest_value():
    heat = gradcam.heat(np.array([[0.0, 2.0], [-5.0, 1.0]]), 8)
    assert heat.shape == (8, 8)
    assert (heat.min(), heat.max()) == (0, 1)


def test_chosen_photos_are_explained_and_broken_ones_said(finished_run, toy, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    good = toy / "test" / "000.png"
    cfg = dataclasses.replace(InterpretConfig(), images=(good, bad))
    assert [path.name for path in interpret(cfg, [finished_run])] == ["images.png"]
    assert "bad.jpg: cannot be read" in capsys.readouterr().out
    with pytest.raises(UserError, match="--images: none of these"):
        interpret(dataclasses.replace(cfg, images=(bad,)), [finished_run])


def test_the_sheet_takes_each_class_in_turn_and_the_surest_first():
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.99, 0.01]])
    held = HeldOut(np.array(list("abcde")), np.array([0, 0, 1, 1, 0]), probs, ["x", "y"])
    assert examples.one_class_at_a_time(held, 4).tolist() == [4, 2, 0, 3]


def test_classes_that_the_gallery_does_not_show_are_named(capsys):
    held = HeldOut(np.array(list("abcd")), np.array([0, 1, 1, 2]), np.eye(4), list("wxyz"))
    examples.say_left_out(held, np.array([0, 1, 3]))
    assert capsys.readouterr().out == ("gradcam.png: 1 of 4 classes have no held-out photo: z\n")
    examples.say_left_out(held, np.array([1]))
    told = capsys.readouterr().out
    assert "2 of 4 classes are left out (--gradcam 3 shows them): w, y" in told


def test_the_gallery_shows_every_class_unless_fewer_photos_are_asked_for(
    tmp_path, monkeypatch, capsys
):
    n = examples.FEWEST + 6
    files = np.array([f"train/{i}.jpg" for i in range(n)])
    held = HeldOut(files, np.arange(n), np.eye(n), [f"c{i}" for i in range(n)])
    explained = []

    def explainer(paths, targets):
        explained.append(len(paths))
        return [None] * len(paths)

    inputs = ReportInputs(held, tmp_path, tmp_path, explainer)
    monkeypatch.setattr(examples.sheet, "draw", lambda *given, **more: None)
    examples.write(inputs, examples.MOST)
    assert "left out" not in capsys.readouterr().out
    examples.write(inputs, 4)
    assert f"{n - 4} of {n} classes are left out" in capsys.readouterr().out
    assert explained == [n, 4]


def test_faithfulness_is_measured_against_random_and_centre_maps(finished_run, capsys):
    cfg = dataclasses.replace(InterpretConfig(), faithfulness=(4,))
    assert [path.name for path in interpret(cfg, [finished_run])] == ["faithfulness.csv"]
    told = capsys.readouterr().out
    assert "deletion (low" in told
    assert "insertion (high" in told


def test_a_map_of_what_the_model_uses_is_faithful():
    class Corner(nn.Module):
        "Predicts class 1 from the brightness of the upper left cell alone."

        def forward(self, x):
            bright = x[:, :, :16, :16].mean((1, 2, 3))
            return torch.stack([torch.zeros_like(bright), 16 * (bright - 0.5)], 1)

    explainer = type("E", (), {"model": Corner(), "spec": type("C", (), {"temperature": 1.0})})()
    x = -torch.ones(1, 3, 112, 112)
    x[:, :, :16, :16] = 1.0
    target = torch.tensor([1])
    order = np.arange(49)
    first, last = order, order[::-1]
    deletion = [faithfulness.area(explainer, x, target, o, hide=True) for o in (first, last)]
    insertion = [faithfulness.area(explainer, x, target, o, hide=False) for o in (first, last)]
    assert deletion[0] < deletion[1] - 0.1
    assert insertion[0] > insertion[1] + 0.1


class Lost(dict):
    "Pixels by path, of which one is gone by the time it is read."

    def problem(self, path):
        return None

    def __call__(self, path):
        if path not in self:
            raise BrokenImageError("gone")
        return self[path]


def test_a_photo_lost_meanwhile_takes_no_other_photos_class(tmp_path):
    model, _ = model_of("resnet18", size=32)
    spec = SimpleNamespace(view=View(32, (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0), temperature=1.0)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    rng = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    there = Lost({path: Image.open(path).convert("RGB") for path in paths if path != paths[1]})
    targets = np.array([[0], [1], [2], [3]])
    found = gradcam.Explainer(model, spec, CPU, there)(paths, targets)
    assert found[1] is None
    for place in (0, 2, 3):
        (alone,) = gradcam.Explainer(model, spec, CPU, there)(
            paths[place:][:1], targets[place:][:1]
        )
        assert np.allclose(found[place].maps[0], alone.maps[0], atol=1e-5)
