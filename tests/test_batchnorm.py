"""BatchNorm folded into convolutions: the same answers from fewer passes."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from vlg_fastai.model.batchnorm import folded, folding

CPU = SimpleNamespace(device=torch.device("cpu"))


def net(arch):
    "A net whose norms have statistics that differ from none at all."
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
