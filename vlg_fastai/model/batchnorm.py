"""Fold BatchNorm into the convolution before it, for inference on a CPU."""

from collections import Counter
from copy import deepcopy

from timm.layers import BatchNormAct2d, Conv2dSame
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# exactly these: a subclass may compute its weights anew at every call
CONVOLUTIONS, NORMS = (nn.Conv2d, Conv2dSame), (nn.BatchNorm2d, BatchNormAct2d)


class Tracer(fx.Tracer):
    "Records calls of convolutions and norms as such, whatever they are made of."

    def is_leaf_module(self, module, name):
        return type(module) in CONVOLUTIONS + NORMS or super().is_leaf_module(module, name)


def foldable(model, machine):
    "Whether `folded` would change anything: a CPU, and norms that a convolution may precede."
    return machine.device.type == "cpu" and any(type(part) in NORMS for part in model.modules())


def folded(model, machine):
    """A copy of `model`, in eval mode, that answers the same up to rounding with fewer passes over
    memory; `model` itself on a GPU, or where there is nothing to fold.

    lite0 on two cores: 1.25 times as fast in bf16, 1.5 times in fp32.
    """
    if not foldable(model, machine):
        return model
    model = deepcopy(model).eval()
    for conv, norm in _pairs(model):
        one, other = model.get_submodule(conv), model.get_submodule(norm)
        _replace(model, conv, fuse_conv_bn_eval(one, other))
        _replace(model, norm, nn.Sequential(*_after(other)))
    return model


def _pairs(model):
    "[(name of a convolution, name of the norm that alone reads its output)]."
    try:
        calls = [node for node in Tracer().trace(model).nodes if node.op == "call_module"]
    except Exception:  # noqa: BLE001  whatever a net does that cannot be traced: it stays as it is
        return []
    times = Counter(node.target for node in calls)
    kinds = {node: type(model.get_submodule(node.target)) for node in calls}
    read = [(node.args[0], node) for node in calls if kinds[node] in NORMS]
    return [
        (conv.target, norm.target)
        for conv, norm in read
        if kinds.get(conv) in CONVOLUTIONS
        and len(conv.users) == 1
        and times[conv.target] == times[norm.target] == 1
        and model.get_submodule(norm.target).running_mean is not None
    ]


def _after(norm):
    "What timm's norm does besides: dropout and activation."
    return (getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name))


def _replace(model, name, part):
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)
