"""A convolution and its activation at once: the answers of two layers."""

from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn

from vlg_fastai.machine import active
from vlg_fastai.model.batchnorm import folded

CPU = SimpleNamespace(device=torch.device("cpu"))
LIMITED, FROM_ZERO = nn.ReLU6(), nn.ReLU()


def photos(memory_format=torch.channels_last):
    drawn = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(3, 8, 11, 10, generator=drawn)
    return x.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("precise", [True, False])
def test_this_torch_offers_it_whatever_the_precision_of_who_asks_first(precise):
    active.available.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
        assert active.available()


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("activation", [LIMITED, FROM_ZERO])
@pytest.mark.parametrize("conv", [
    nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 8, 5, 2, 2, groups=8), nn.Conv2d(8, 4, 1),
    Conv2dSame(8, 8, 3, 2, groups=8), nn.Conv2d(8, 4, 3, dilation=2),
])  # fmt: skip
def test_answers_are_those_of_two_layers(conv, activation, memory_format):
    made, x = active.joined(conv, [nn.Identity(), activation]), photos(memory_format)
    with torch.inference_mode():
        wanted = activation(conv(x))
        torch.testing.assert_close(made(x), wanted, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer, other = made(x), activation(conv(x))
        assert answer.dtype == other.dtype == torch.bfloat16
        torch.testing.assert_close(answer, other, rtol=0.02, atol=0.02)
        torch.testing.assert_close(made(x), wanted, rtol=1e-5, atol=1e-5)  # in fp32 again
    assert wanted.min() == 0 < wanted.max()


def test_where_gradients_are_wanted_the_layers_answer():
    conv, x = nn.Conv2d(8, 4, 3), photos().requires_grad_()
    active.joined(conv, [LIMITED])(x).sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize(("conv", "rest"), [
    (nn.Conv2d(8, 4, 3), [nn.SiLU()]),
    (nn.Conv2d(8, 4, 3), []),
    (nn.Conv2d(8, 4, 3), [nn.Dropout(), LIMITED]),
    (nn.Conv2d(8, 4, 3, padding="same"), [LIMITED]),
    (nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"), [LIMITED]),
])  # fmt: skip
def test_all_else_stays_in_layers(conv, rest):
    assert active.joined(conv, rest) is None


@pytest.mark.parametrize(
    "answer", [None, torch.zeros(1, 4, 8, 8)], ids=["is not there", "is wrong"]
)
def test_a_torch_without_it_gets_plain_layers_and_the_same_answers(monkeypatch, answer):
    def operation(*given):
        if answer is None:
            raise AttributeError("no such operation")
        return answer

    model = nn.Sequential(nn.Conv2d(8, 4, 3), BatchNormAct2d(4, act_layer=nn.ReLU6)).eval()
    with torch.inference_mode():
        wanted = model(photos())
        monkeypatch.setattr(active, "_at_once", operation)
        active.available.cache_clear()
        made = folded(model, CPU)
        torch.testing.assert_close(made(photos()), wanted, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(part, active.Active) for part in made.modules())
    monkeypatch.undo()
    active.available.cache_clear()
    assert any(isinstance(part, active.Active) for part in folded(model, CPU).modules())
