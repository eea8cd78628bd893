"""Depthwise convolutions whose gradients a CPU computes fast: the same as torch's."""

from copy import deepcopy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from vlg_fastai.machine.depthwise import quicken
from vlg_fastai.machine.device import Machine

CPU = Machine(torch.device("cpu"), "bf16", 0)
KERNELS = [3, 4, 5, 7, (3, 7), (5, 2), 9]


def quick(conv):
    made = nn.Sequential(deepcopy(conv))
    quicken(made, CPU)
    return made[0]


def seen(conv, x):
    "What `conv` computes of `x`, and all gradients of a weighted sum of it."
    x = x.clone().requires_grad_()
    y = conv(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in conv.parameters())]


def photos(channels, dtype=torch.float64):
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, 13, 12, generator=drawn, dtype=dtype)


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("size", KERNELS)
def test_gradients_are_those_of_torch(size, stride, kind):
    padding = {} if kind is Conv2dSame else {"padding": 2}
    plain = kind(6, 6, size, stride, groups=6, **padding).double()
    made = quick(plain)
    assert type(made) is not kind
    for ours, theirs in zip(seen(made, photos(6)), seen(plain, photos(6)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_gradients_in_fp32_are_those_of_torch(size, stride):
    plain = nn.Conv2d(16, 16, size, stride, size // 2, groups=16)
    plain.to(memory_format=torch.channels_last)
    x = photos(16, torch.float32).contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(seen(quick(plain), x), seen(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_single_photo_without_a_batch_is_taken_too():
    made = quick(nn.Conv2d(4, 4, 5, groups=4))
    assert made(photos(4, torch.float32)[0]).shape == (4, 9, 8)


def test_several_outputs_per_channel_and_no_bias():
    plain = nn.Conv2d(4, 12, 5, padding=1, groups=4, bias=False).double()
    for ours, theirs in zip(seen(quick(plain), photos(4)), seen(plain, photos(4)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_photos_and_gradients_are_as_close_as_bf16_is(stride):
    plain = nn.Conv2d(8, 8, 5, stride, padding=2, groups=8)
    x = photos(8, torch.float32).contiguous(memory_format=torch.channels_last)
    exact = seen(plain, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = seen(quick(plain), x)
    assert [one.dtype for one in ours] == [torch.bfloat16] + [torch.float32] * 3
    for one, other in zip(ours, exact, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


def test_what_is_frozen_gets_no_gradient_and_the_photos_still_do():
    made = quick(nn.Conv2d(4, 4, 5, groups=4)).requires_grad_(requires_grad=False)
    x = photos(4, torch.float32).requires_grad_()
    made(x).sum().backward()
    assert x.grad is not None
    assert made.weight.grad is made.bias.grad is None


def test_copies_compute_with_their_own_weights_and_names_stay():
    plain = nn.Conv2d(4, 4, 5, groups=4)
    made = quick(plain)
    copy = deepcopy(made)
    nn.init.zeros_(copy.weight)
    nn.init.zeros_(copy.bias)
    assert list(made.state_dict()) == list(plain.state_dict())
    assert not copy(photos(4, torch.float32)).any()
    assert torch.equal(made(photos(4, torch.float32)), plain(photos(4, torch.float32)))


class Standardized(nn.Conv2d):
    "Computes its weights anew at every call."


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 8, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(1, 1, 3),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"),
        Standardized(4, 4, 3, groups=4),
    ],
)
def test_other_convolutions_stay_as_they_are(conv):
    assert type(quick(conv)) is type(conv)


def test_on_a_gpu_every_convolution_stays_as_it_is():
    net = nn.Sequential(nn.Conv2d(4, 4, 5, groups=4))
    quicken(net, Machine(torch.device("cuda"), "bf16", 0))
    assert type(net[0]) is nn.Conv2d
