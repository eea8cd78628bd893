"""Backbones: each family trains and predicts, keeps its tail, and starts from the right weights."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import run_prediction, run_training, toy_config
from fastai.torch_core import set_seed
from PIL import Image
from torch import nn

from vlg_fastai.config import (
    ARCH,
    BUNDLED,
    BUNDLED_ARCH,
    AuditConfig,
    TrainConfig,
    UserError,
    size_of,
)
from vlg_fastai.data import folder, loaders, scan, split
from vlg_fastai.data.view import View
from vlg_fastai.machine.device import Machine
from vlg_fastai.model import backbone, inference, sources
from vlg_fastai.model.head import assemble
from vlg_fastai.model.sources import Source
from vlg_fastai.train import learner

CPU = Machine(torch.device("cpu"), "fp32", 0)
FAMILIES = [
    "convnext_tiny.in12k_ft_in1k", "convnext_small", "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", BUNDLED_ARCH, "resnet18",
    "mobilenetv3_small_100", "mobilenetv4_conv_small", "efficientvit_b0",
]  # fmt: skip


def learn_for(toy, tmp_path, source, size, **options):
    cfg = toy_config(toy, tmp_path, size=size, **options)
    set_seed(0)
    table = split.assign(scan.scan_classes(folder.layout(toy)), 0.2, 0)
    classes = sorted(table["label"].unique())
    view = backbone.view(source.arch, size)
    dls = loaders.build(table, classes, view, view.pixels(), CPU, cfg)
    trained = None if source.kind == "nothing" else backbone.trained(source, size).state_dict()
    return learner.build(dls, source, trained, cfg, CPU), table


@pytest.mark.parametrize("arch", FAMILIES)
def test_each_family_trains_a_batch_and_predicts(toy, tmp_path, arch):
    learn, table = learn_for(toy, tmp_path, Source(arch, "nothing"), 64)
    before = {name: value.clone() for name, value in learn.model.named_parameters()}
    learn.create_opt()
    x, y = learn.dls.one_batch()
    learn.model.train()
    learn.loss_func(learn.model(x.as_subclass(torch.Tensor)), y).backward()
    without = [name for name, p in learn.model.named_parameters() if p.grad is None]
    assert without == []  # fastai's TimmBody leaves ConvNeXt's norm and MobileNet's conv_head out
    learn.opt.set_hypers(lr=1e-3)
    learn.opt.step()
    assert any(not torch.equal(before[name], p) for name, p in learn.model.named_parameters())
    dl = loaders.plain(table["path"][:3], backbone.view(arch, 64), 2, CPU)
    z = inference.logits(learn.model, dl, CPU)
    assert z.shape == (3, 3)
    assert np.isfinite(z).all()


def test_the_features_are_timms_own_pre_logits():
    net = timm.create_model("convnext_atto", num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net.get_classifier()(backbone.Backbone(net)(x)), net(x), atol=1e-5)


def test_the_width_is_what_comes_out_where_timms_num_features_is_not():
    net = timm.create_model("mobilenetv3_small_100", num_classes=0)
    assert backbone.Backbone(net).width == 1024 != net.num_features


def test_the_bundled_weights_are_the_files_own_and_classify(tmp_path):
    source = sources.choose(BUNDLED_ARCH, None, True)
    assert source.kind == "bundled"
    net = backbone.create(source, 64)
    backbone.fill(net, source)
    stored = torch.load(source.file, weights_only=True)
    assert torch.equal(net.conv_stem.weight, stored["_conv_stem.weight"])
    assert torch.equal(net.bn2.running_var, stored["_bn1.running_var"])


def test_normalisation_interpolation_and_crop_are_the_models_own():
    vit, net = backbone.view("vit_tiny_patch16_224", 96), backbone.view("resnet18.tv_in1k", 96)
    assert vit.mean == (0.5, 0.5, 0.5)
    assert net.mean == (0.485, 0.456, 0.406)
    assert (net.interpolation, net.crop_pct) == ("bilinear", 0.875)


def test_untrained_nets_are_normalised_too(toy, tmp_path):
    learn, _ = learn_for(toy, tmp_path, Source("resnet10t", "nothing"), 32, aug="none")
    x, _ = learn.dls.one_batch()
    assert x.min() < -0.5  # fastai adds no Normalize where pretrained=False


def test_fastai_does_not_reinitialise_what_was_filled(toy, tmp_path):
    source = sources.choose(BUNDLED_ARCH, None, True)
    learn, _ = learn_for(toy, tmp_path, source, 64)
    stored = torch.load(source.file, weights_only=True)
    assert torch.equal(learn.model[0].net.conv_stem.weight, stored["_conv_stem.weight"])


@pytest.mark.parametrize("kind", ["pth", "safetensors", "checkpoint"])
def test_weights_of_a_file_are_taken(tmp_path, kind):
    from safetensors.torch import save_file

    net = timm.create_model("test_resnet", num_classes=7)
    path = tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(net.state_dict(), path)
    else:
        state = net.state_dict()
        torch.save(state if kind == "pth" else {"state_dict": state, "epoch": 3}, path)
    source = sources.choose("test_resnet", path, True)
    taken = backbone.create(source, 64)
    backbone.fill(taken, source)
    assert torch.equal(taken.conv1[0].weight, net.conv1[0].weight)


def test_weights_of_an_earlier_run_are_taken(finished_run):
    source = Source("tf_efficientnet_lite0", "file", finished_run.path / "model.safetensors")
    net = backbone.create(source, 64)
    backbone.fill(net, source)
    bundled = torch.load(
        sources.choose("tf_efficientnet_lite0", None, True).file, weights_only=True
    )
    assert not torch.equal(net.conv_stem.weight, bundled["_conv_stem.weight"])


def test_position_embeddings_of_another_size_are_resampled(tmp_path):
    torch.save(timm.create_model("test_vit", img_size=160).state_dict(), tmp_path / "w.pth")
    source = Source("test_vit", "file", tmp_path / "w.pth")
    net = backbone.create(source, 96)
    backbone.fill(net, source)
    assert net.pos_embed.shape[1] == 36 + 1


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_damaged_facts_beside_weights_say_nothing_of_their_architecture(tmp_path, text):
    (tmp_path / "facts.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert sources.choose(None, tmp_path / "model.safetensors", True).arch == ARCH


def test_weights_of_another_net_are_refused(tmp_path):
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pth")
    source = Source("test_resnet", "file", tmp_path / "w.pth")
    with pytest.raises(UserError, match="not weights of test_resnet; .* missing"):
        backbone.fill(backbone.create(source, 64), source)


class Trap:
    def __reduce__(self):
        return print, ("code was run",)


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"state_dict": Trap()}, tmp_path / "w.pth")
    source = Source("test_resnet", "file", tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot be read as weights"):
        backbone.fill(backbone.create(source, 64), source)
    assert "code was run" not in capsys.readouterr().out


def test_a_size_the_net_cannot_take_is_the_users_to_know():
    source = Source("xcit_nano_12_p16_224", "nothing")
    with pytest.raises(UserError, match="--size 33: cannot be built .*patch_size"):
        assemble(backbone.create(source, 33), "mlp", 2, source, 33)


def test_the_names_read_from_timms_source_are_timms_names():
    assert sorted(sources.registered()) == sorted(timm.list_models())


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(UserError, match="convnext_tny: timm has no model .*convnext_tiny"):
        sources.choose("convnext_tny", None, True)


def offline(monkeypatch):
    monkeypatch.setattr(sources, "answers", lambda address: False)
    monkeypatch.setattr(sources, "_may_be_cached", lambda name: False)


def test_without_hub_and_arch_the_bundled_net_is_taken_and_said(monkeypatch, capsys):
    offline(monkeypatch)
    assert sources.choose(None, None, True).arch == BUNDLED_ARCH
    assert "which is bundled" in capsys.readouterr().out


def test_without_hub_a_named_arch_is_an_error_with_the_ways_out(monkeypatch):
    offline(monkeypatch)
    with pytest.raises(UserError, match="--weights FILE, --no-pretrained, or --arch tf_eff"):
        sources.choose("resnet18", None, True)
    assert sources.choose("resnet18", None, False).kind == "nothing"


def test_the_hub_is_not_asked_for_the_bundled_net(monkeypatch):
    monkeypatch.setattr(sources, "answers", lambda address: pytest.fail("the hub was asked"))
    assert sources.choose(f"{BUNDLED_ARCH}.in1k", None, True).arch == BUNDLED_ARCH


def test_a_hub_that_does_not_answer_is_given_up_soon(monkeypatch):
    import time

    monkeypatch.setattr(sources, "PATIENCE", 0.1)
    monkeypatch.setattr(sources, "_ask", lambda address, found: time.sleep(5))
    start = time.monotonic()
    assert not sources.answers("https://example.invalid")
    assert time.monotonic() - start < 3


def test_with_a_hub_that_answers_its_weights_are_chosen(monkeypatch):
    monkeypatch.setattr(sources, "answers", lambda address: True)
    monkeypatch.setattr(sources, "cached", lambda repo: False)
    assert sources.choose(None, None, True) == Source("convnext_tiny.in12k_ft_in1k", "hub")
    monkeypatch.setattr(sources, "cached", lambda repo: True)
    assert sources.choose("resnet18", None, True) == Source("resnet18", "cache")


def test_an_unknown_tag_is_an_error(monkeypatch):
    monkeypatch.setattr(sources, "answers", lambda address: True)
    with pytest.raises(UserError, match="timm has no weights with that tag"):
        sources.choose("resnet18.of_mine", None, True)


def test_a_download_that_fails_is_explained():
    def fetch():
        with backbone.explained(Source("resnet18", "hub"), 64):
            raise ConnectionError("reset by peer")

    with pytest.raises(UserError, match="could not be fetched"):
        fetch()


def test_validation_during_training_sees_what_predict_sees(toy, tmp_path):
    learn, table = learn_for(toy, tmp_path, Source("test_efficientnet", "nothing"), 32)
    valid = table[table["split"] == "valid"]
    x, _ = learn.dls.valid.one_batch()
    dl = loaders.plain(valid["path"], backbone.view("test_efficientnet", 32), len(x), CPU)
    # not bitwise: fastai's affine transforms resample on validation too, with the identity
    assert (x - next(iter(dl))[0]).abs().max() < 1e-4


class Fragile(nn.Module):
    "Logits that overflow fp16 under autocast; for a photo of ones they are never finite."

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 3)

    def forward(self, x):
        rows = self.last(x.mean((1, 2, 3))[:, None].float())
        rows = torch.where((x.amax((1, 2, 3)) > 0.99)[:, None], torch.nan, rows)
        return rows * torch.inf if torch.is_autocast_enabled("cpu") else rows


def test_what_half_precision_cannot_hold_is_computed_in_full(monkeypatch, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (255 if i == 2 else 60 + 20 * i,) * 3).save(path)
    view = View(8, (0, 0, 0), (1, 1, 1), "bicubic", 1.0)
    model, low = Fragile(), Machine(torch.device("cpu"), "bf16", 0)
    z = inference.logits(model, loaders.plain(paths, view, 2, low), low)
    full = inference.logits(model, loaders.plain(paths, view, 2, CPU), CPU)
    assert np.allclose(z[[0, 1, 3]], full[[0, 1, 3]], atol=1e-5)
    assert np.isfinite(z[[0, 1, 3]]).all()
    assert np.isnan(z[2]).all()


def test_a_photo_of_which_the_model_makes_no_numbers_gets_the_prior_and_a_reason(
    finished_run, toy, tmp_path, monkeypatch
):
    finite = inference._finite

    def spoilt(*given):
        z = finite(*given)
        z[:, 4] = np.nan
        return z

    monkeypatch.setattr(inference, "_finite", spoilt)
    run_prediction(finished_run, tmp_path / "s.csv")
    told = pd.read_csv(tmp_path / "probabilities.csv").set_index("file")
    assert told["problem"].notna().sum() == 1
    assert told.loc["004.png", "problem"] == "the model returns no finite numbers for it"
    prior = told.loc["004.png", finished_run.facts.classes].to_numpy(float)
    assert np.allclose(prior, finished_run.facts.prior, atol=1e-6)


@pytest.mark.parametrize("arch", BUNDLED)
def test_the_file_of_each_bundled_net_fits_it_tensor_by_tensor(arch):
    source = sources.choose(arch, None, True)
    assert source == Source(arch, "bundled", source.file)
    state = torch.load(source.file, weights_only=True)
    wanted = timm.create_model(arch).state_dict()
    assert [value.shape for value in state.values()] == [v.shape for v in wanted.values()]
    net = backbone.trained(source, BUNDLED[arch]).eval()
    assert torch.equal(net.state_dict()["conv_stem.weight"], next(iter(state.values())))


def test_a_bundled_net_is_shown_photos_as_large_as_those_it_was_trained_on():
    for arch, size in BUNDLED.items():
        assert timm.get_pretrained_cfg(arch).input_size == (3, size, size)
        assert size_of(TrainConfig(), arch) == size_of(AuditConfig(), f"{arch}.in1k") == size
    assert size_of(TrainConfig(), "convnext_tiny.in12k_ft_in1k") == 224
    assert size_of(TrainConfig(size=96), BUNDLED_ARCH) == 96


def test_the_size_that_was_settled_is_kept_with_the_run(toy, tmp_path):
    cfg = toy_config(toy, tmp_path, arch="test_efficientnet", size=None)
    run = run_training(cfg)
    assert run.config["size"] == run.facts.view["size"] == 224
