"""BatchNorm folded into convolutions: the same answers from fewer passes."""

from contextlib import suppress
from copy import deepcopy
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from vlg_fastai.machine import active
from vlg_fastai.machine.depthwise import quicken
from vlg_fastai.model import head
from vlg_fastai.model.batchnorm import fold_frozen, folded, folding, unfold
from vlg_fastai.model.sources import Source

CPU = SimpleNamespace(device=torch.device("cpu"))


def net(arch, seed=0):
    "A net whose norms have statistics that differ from none at all."
    torch.manual_seed(seed)
    made = timm.create_model(arch).eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return made


def norms(model):
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]


def answers(model, size=64):
    with torch.inference_mode():
        return model(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("arch", "left"), [("tf_efficientnet_lite0", 0), ("resnet18", 0), ("densenet121", 62)]
)
def test_folded_nets_answer_the_same(arch, left):
    model = net(arch)
    there, before = len(norms(model)), {k: v.clone() for k, v in model.state_dict().items()}
    made = folded(model, CPU)
    assert len(norms(made)) == left < there
    torch.testing.assert_close(answers(made), answers(model), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_net_is_folded_for_a_while():
    model = net("resnet18")
    parts, before = list(model.modules()), answers(model)
    with suppress(KeyboardInterrupt), folding(model, CPU):
        assert not norms(model)
        torch.testing.assert_close(answers(model), before, rtol=1e-4, atol=1e-4)
        raise KeyboardInterrupt
    assert list(model.modules()) == parts
    assert torch.equal(answers(model), before)


@pytest.mark.parametrize("name", head.HEADS)
def test_a_whole_model_folds_with_any_head_and_after_training_too(name):
    source = Source("tf_efficientnet_lite0", "nothing")
    model = head.assemble(net(source.arch), name, 5, source, 64).eval()
    quicken(model, CPU)
    made = folded(model, CPU)
    assert norms(model)
    assert not norms(made)
    torch.testing.assert_close(answers(made), answers(model), rtol=1e-4, atol=1e-4)


def gradients(model, size=64):
    "Output and gradients of a model whose norms keep their statistics."
    model.zero_grad()
    dtype, drawn = next(model.parameters()).dtype, torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, size, size, generator=drawn, dtype=torch.float64).to(dtype)
    out = model.eval()(x)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    return [out.detach(), *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "regnetx_002"])
def test_activations_train_in_the_same_pass_with_the_same_gradients(arch, monkeypatch):
    passes, off, at_once = [], [], active._at_once
    monkeypatch.setattr(active, "_at_once", lambda *given: passes.append(1) or at_once(*given))
    for seed in range(5):
        exact = net(arch, seed).double()
        model = deepcopy(exact).float().to(memory_format=torch.channels_last)
        quicken(model, CPU)
        fold_frozen(model)
        passes.clear()
        pairs = zip(gradients(model, 32), gradients(exact, 32), strict=True)
        errors = [(ours.double() - wanted).norm() / wanted.norm() for ours, wanted in pairs]
        off.append(float(torch.stack(errors).max()))
    # where an activation is zero to fp32's precision its gradient may be that of either side, as in
    # the plain net: in one of 24 draws of lite0 at this size
    assert sum(error < 1e-4 for error in off) >= 4
    activations = [part for part in exact.modules() if isinstance(part, nn.ReLU | nn.ReLU6)]
    assert len(passes) == sum(type(norm.act) in active.KINDS for norm in norms(exact))
    assert len(activations) >= len(passes) > 20


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "resnet18"])
def test_frozen_norms_train_folded_with_the_same_gradients(arch):
    model = net(arch).double()
    names, kinds = list(model.state_dict()), [type(part) for part in model.modules()]
    before = gradients(model)
    quicken(model, CPU)
    fold_frozen(model)
    for ours, theirs in zip(gradients(model), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9 * theirs.abs().max())
    assert not any(type(part) in (nn.BatchNorm2d, BatchNormAct2d) for part in model.modules())
    assert list(model.state_dict()) == names
    unfold(model)
    assert [getattr(type(p), "plain", type(p)) for p in model.modules()] == kinds
    assert not any(hasattr(part, "after") for part in model.modules())


class Wrapped(nn.Module):
    "A convolution in a module of its own, before a norm that is not in it."

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def test_a_norm_finds_its_convolution_in_another_module():
    assert not norms(folded(nn.Sequential(Wrapped(), nn.BatchNorm2d(4)).eval(), CPU))


@pytest.mark.parametrize("conv", [
    nn.Conv2d(3, 4, 3).requires_grad_(requires_grad=False),
    nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
], ids=["does not learn", "pads otherwise"])  # fmt: skip
def test_convolutions_that_training_cannot_fold_stay_as_they_are(conv):
    model = nn.Sequential(conv, nn.BatchNorm2d(4)).eval()
    before = answers(model)
    fold_frozen(model)
    assert [type(part) for part in model] == [nn.Conv2d, nn.BatchNorm2d]
    assert torch.equal(answers(model), before)


def test_norms_folded_for_training_follow_both_weights_and_their_copies():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    fold_frozen(model)
    nn.init.zeros_(model[0].bias)
    copy = deepcopy(model)
    with torch.no_grad():
        copy[0].weight.mul_(2)
        copy[1].weight.mul_(3)
    torch.testing.assert_close(answers(copy), 6 * answers(model))


def test_a_net_without_batchnorm_is_not_copied():
    model = timm.create_model("test_vit").eval()
    assert folded(model, CPU) is model


def test_on_a_gpu_nothing_is_folded():
    model = net("resnet18")
    assert folded(model, SimpleNamespace(device=torch.device("cuda"))) is model


class Standardized(nn.Conv2d):
    "Computes its weights anew at every call, as weight standardization does."

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


class Twice(nn.Module):
    "One convolution read by a norm and by the sum."

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        made = self.conv(x)
        return made + self.norm(made)


class ByContent(nn.Sequential):
    "Takes a way that depends on what it sees, so that it cannot be traced."

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(Standardized(3, 4, 3), nn.BatchNorm2d(4)),
        Twice(),
        ByContent(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["weights made anew", "read twice", "not traceable", "statistics of the batch"],
)
def test_what_cannot_be_folded_stays_as_it_is(model):
    made = folded(model.eval(), CPU)
    assert len(norms(made)) == 1
    torch.testing.assert_close(answers(made), answers(model))
