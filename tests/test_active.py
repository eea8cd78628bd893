"""A convolution and its activation at once: the answers of two layers."""

from copy import deepcopy
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn

from vlg_fastai.machine import active
from vlg_fastai.machine.depthwise import quicken
from vlg_fastai.model.batchnorm import fold_frozen, folded

CPU = SimpleNamespace(device=torch.device("cpu"))
LIMITED, FROM_ZERO = nn.ReLU6(), nn.ReLU()
CONVOLUTIONS = [
    nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 8, 5, 2, 2, groups=8), nn.Conv2d(8, 4, 1),
    Conv2dSame(8, 8, 3, 2, groups=8), nn.Conv2d(8, 4, 3, dilation=2), nn.Conv2d(8, 6, 3, groups=2),
]  # fmt: skip


def photos(memory_format=torch.channels_last):
    drawn = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(3, 8, 11, 10, generator=drawn)
    return x.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("precise", [True, False])
def test_this_torch_offers_it_whatever_the_precision_of_who_asks_first(precise):
    active.available.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
        assert active.available(torch.float32)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("activation", [LIMITED, FROM_ZERO])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
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


def learned(call, conv, x):
    "The answer of `call` for photos `x`, and the gradients of a weighted sum of it."
    conv.zero_grad()
    x = x.clone().requires_grad_()
    y = call(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in conv.parameters())]


@pytest.mark.parametrize("precise", [True, False])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("activation", [LIMITED, FROM_ZERO])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_gradients_are_those_of_two_layers(conv, activation, memory_format, precise):
    x, model = photos(memory_format), nn.Sequential(deepcopy(conv))
    quicken(model, CPU)

    def apart(x):
        return activation(conv(x))

    def together(x):
        return active.convolve_active(model[0], activation, x, *model[0].parameters())

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
        wanted, answer = learned(apart, conv, x), learned(together, model[0], x)
    assert answer[0].dtype == (torch.float32 if precise else torch.bfloat16)
    near = 1e-5 if precise else 0.01
    for ours, theirs in zip(answer, wanted, strict=True):
        assert (ours - theirs).norm() < near * theirs.norm()


@pytest.mark.parametrize("learns", list(product([True, False], repeat=3))[:-1])
@pytest.mark.parametrize("conv", [nn.Conv2d(8, 4, 3), nn.Conv2d(8, 8, 5, 2, 2, groups=8)])
def test_only_what_learns_gets_a_gradient_and_the_right_one(conv, learns):
    model = nn.Sequential(deepcopy(conv))
    quicken(model, CPU)
    given = [photos(), conv.weight, conv.bias]
    ours, theirs = ([v.detach().clone().requires_grad_(one) for v, one in
                     zip(given, learns, strict=True)] for _ in range(2))  # fmt: skip
    made = active.convolve_active(model[0], LIMITED, *ours)
    assert "ActiveConvolution" in type(made.grad_fn).__name__
    made.square().sum().backward()
    x, *weights = theirs
    shape = conv.stride, conv.padding, conv.dilation, conv.groups
    LIMITED(nn.functional.conv2d(x, *weights, *shape)).square().sum().backward()
    for one, other, told in zip(ours, theirs, learns, strict=True):
        assert (one.grad is not None) == told
        if told:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("spoilt", ["weight", "bias"])
def test_weights_that_are_not_finite_show_in_training(spoilt):
    conv = nn.Conv2d(8, 4, 3)
    with torch.no_grad():
        getattr(conv, spoilt)[0] = torch.nan
    made = active.convolve_active(conv, LIMITED, photos(), conv.weight, conv.bias)
    assert made[:, 0].isnan().all()
    assert made[:, 1:].isfinite().all()


def spoilt_first():
    "A net of two convolutions with activations, of which the first has a weight that is NaN."
    layers = [nn.Conv2d(8, 8, 3), BatchNormAct2d(8, act_layer=nn.ReLU6), nn.Conv2d(8, 4, 3),
              BatchNormAct2d(4, act_layer=nn.ReLU)]  # fmt: skip
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[0].weight[3, 0] = torch.nan
    return model


def test_weights_that_are_not_finite_show_through_all_that_follows():
    model = spoilt_first()
    with torch.inference_mode():
        assert folded(model, CPU)(photos()).isnan().all()
    fold_frozen(model)
    assert model(photos()).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_processor_that_cannot_compute_a_precision_at_once_takes_layers(monkeypatch, dtype):
    def operation(x, *given):
        if x.dtype is dtype:
            raise RuntimeError("mkldnn_convolution_pointwise: needs avx512")
        return at_once(x, *given)

    at_once, conv = active._at_once, nn.Conv2d(8, 4, 3)
    monkeypatch.setattr(active, "_at_once", operation)
    active.available.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        made = active.convolve_active(conv, LIMITED, photos(), *conv.parameters())
        torch.testing.assert_close(made, LIMITED(conv(photos())))
        joined = active.Active(conv, LIMITED)
        with torch.inference_mode():
            torch.testing.assert_close(joined(photos()), LIMITED(conv(photos())))
    active.available.cache_clear()


def test_an_empty_batch_stays_one():
    with torch.inference_mode():
        made = active.joined(nn.Conv2d(8, 4, 3), [LIMITED])(photos()[:0])
    assert made.shape == (0, 4, 9, 8)


def test_other_precisions_train_in_layers():
    conv = nn.Conv2d(8, 4, 3).double()
    made = active.convolve_active(conv, LIMITED, photos().double(), conv.weight, conv.bias)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, LIMITED(conv(photos().double())))


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
