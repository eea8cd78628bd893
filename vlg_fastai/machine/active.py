"""A convolution and the activation after it in one pass over memory, for inference on a CPU.

oneDNN offers it and torch.compile makes use of it, which takes minutes to prepare; here its
operation is called directly. lite0, 64 photos at a time on two cores: 276 photos a second instead
of 240 in bf16, 144 instead of 128 in fp32, with the same answers to the bit.
"""

from functools import cache

import torch
from torch import nn
from torch.nn.functional import conv2d

from vlg_fastai.machine.depthwise import cast, padded, pads_with_zeros

KINDS = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


class Active(nn.Module):
    "A convolution with a bias and its activation; two plain layers where gradients are wanted."

    def __init__(self, conv, activation):
        super().__init__()
        self.conv, self.activation, self.ready = conv, activation, {}

    def forward(self, x):
        if torch.is_grad_enabled():
            return self.activation(self.conv(x))
        conv, (x, padding) = self.conv, padded(self.conv, x)
        (x,) = cast(x)
        if x.dtype not in self.ready:
            self.ready = {x.dtype: [conv.weight.to(x.dtype), conv.bias.to(x.dtype)]}
        shape = conv.stride, padding, conv.dilation, conv.groups
        return _at_once(x, self.ready[x.dtype], shape, KINDS[type(self.activation)])


def joined(conv, rest):
    """`conv` and the layers `rest` after it as one, where that is possible; else None.

    Weights must be finite: oneDNN's limits would turn NaN into a number that looks like an answer.
    """
    doing = [layer for layer in rest if not isinstance(layer, nn.Identity)]
    known = len(doing) == 1 and type(doing[0]) in KINDS
    possible = known and pads_with_zeros(conv) and available()
    finite = possible and all(value.isfinite().all() for value in conv.parameters())
    return Active(conv, doing[0]) if finite else None


def _at_once(x, weights, shape, activation):
    stride, padding, dilation, groups = shape
    given = list(padding), list(stride), list(dilation), groups, *activation, ""
    return torch.ops.mkldnn._convolution_pointwise(x, *weights, *given)


@cache
@torch.autocast("cpu", enabled=False)  # whoever asks first may compute in bf16
def available():
    "Whether this torch computes it as its layers do: the operation is not part of its interface."
    x = torch.linspace(-2, 2, 256).view(1, 4, 8, 8)
    weight = torch.linspace(-1, 1, 144).view(4, 4, 3, 3)
    weights, shape = (weight, weight[:, 0, 0, 0].contiguous()), ((1, 1), (1, 1), (1, 1), 1)
    try:
        made = [_at_once(x, weights, shape, told) for told in KINDS.values()]
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = [kind()(conv2d(x, *weights, *shape)) for kind in KINDS]
    return all(map(torch.allclose, made, wanted))
