"""Build a backbone from a timm name and weights, keeping the net's own pooling and norm."""

import sys
import warnings
from contextlib import contextmanager

import timm
import torch
from timm.models import get_pretrained_cfg, load_state_dict
from torch import nn

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data.view import View

OURS = "0.net."  # prefix of a backbone's tensors in a run's model.safetensors
PREFIXES = (OURS, "module.", "model.", "backbone.")
BOOKKEEPING = "num_batches_tracked"  # counts batches; some formats omit it


class Backbone(nn.Module):
    """A timm net without its classifier: photos (n, 3, size, size) in, features (n, `width`) out.

    fastai's TimmBody stops at `forward_features` and so drops ConvNeXt's trained norm and
    MobileNet's last convolution, and cannot take Swin's channels-last maps.
    """

    def __init__(self, net):
        super().__init__()
        self.net = net

    @property
    def width(self):
        return self.net.head_hidden_size  # MobileNetV3 has 576 `num_features`, but outputs 1024

    def forward(self, x):
        return self.net.forward_head(self.net.forward_features(x), pre_logits=True).flatten(1)


def view(arch, size, crop_pct="own", how="crop"):
    "How `arch` is shown photos: with its own mean, std, interpolation and crop, at `size` pixels."
    cfg = pretrained_cfg(arch)
    share = cfg.crop_pct if crop_pct == "own" else crop_pct
    return View(size, tuple(cfg.mean), tuple(cfg.std), cfg.interpolation, float(share), how)


def pretrained_cfg(arch):
    "timm's own description of `arch`; UserError if its tag is unknown."
    try:
        return get_pretrained_cfg(arch)
    except RuntimeError as error:
        raise UserError(f"--arch {arch}: {error}") from None


def net_options(arch, size, drop_path=0.0):
    "Keyword arguments that `timm.create_model` needs to build `arch` for photos of `size` pixels."
    fixed = {"img_size": size} if pretrained_cfg(arch).fixed_input_size else {}
    return {**fixed, "drop_path_rate": drop_path} if drop_path else fixed


def create(source, size):
    "The net with untrained weights, ready for `load_state_dict`."
    with explained(source, size):
        return timm.create_model(source.arch, num_classes=0, **net_options(source.arch, size))


def trained(source, size):
    "The net with pretrained weights, and the classifier it was trained with, if any."
    if source.kind == "hub":
        say(f"downloading the weights of {source.arch} from the hub")
    with explained(source, size):
        net = timm.create_model(
            source.arch,
            pretrained=source.kind in ("hub", "cache"),
            **net_options(source.arch, size),
        )
    if source.file is not None:
        fill(net, source)
    return net


@contextmanager
def explained(source, size):
    "Turn errors of timm and torch about a net they cannot fetch or build into a UserError."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        if "drop_path_rate" in str(error):
            raise UserError(f"--drop-path: {source.arch} has no blocks to skip") from None
        fetched = source.kind in ("hub", "cache")  # each hub client has its own errors
        if not fetched and not isinstance(error, AssertionError | ValueError | RuntimeError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if fetched:
            reason += "; or its weights could not be fetched: see --weights and --no-pretrained"
        raise UserError(f"--arch {source.arch} --size {size}: cannot be built ({reason})") from None


def fill(net, source):
    "Load the weights of a file into `net`; the bundled file by order, any other by name."
    state = _read(source)
    fitted = _by_order(state, net) if source.kind == "bundled" else _by_name(state, net)
    absent = [key for key in net.state_dict() if key not in fitted and BOOKKEEPING not in key]
    if absent and all(key.startswith(classifiers(net)) for key in absent):
        net.reset_classifier(0)  # weights of an earlier run, saved without it
    elif absent:
        raise UserError(
            f"--weights {source.file}: not weights of {source.arch}; {len(absent)} of"
            f" {len(net.state_dict())} tensors are missing or differ in shape, e.g. {absent[0]}"
        )
    odd = [k for k, v in fitted.items() if v.is_floating_point() and not v.isfinite().all()]
    if odd:
        raise UserError(f"--weights {source.file}: non-finite numbers in {odd[0]}")
    net.load_state_dict(fitted, strict=False)


def classifiers(net):
    "Prefixes of the tensor names of the net's own classifier, as a tuple."
    names = net.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _read(source):
    try:
        return load_state_dict(str(source.file), weights_only=True)
    except Exception as error:  # damaged, or would run code: torch is wordy
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"--weights {source.file}: cannot be read as weights ({reason})") from None


def _by_order(state, net):
    "The bundled file names its tensors differently, but has the same ones in the same order."
    return dict(zip(net.state_dict(), state.values(), strict=False))


def _by_name(state, net):
    wanted = net.state_dict()
    state = _stripped(state, wanted)
    adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if adapt and not _same_shapes(state, wanted):  # e.g. position embeddings of another size
        state = _adapted(adapt, state, net)
    return {key: state[key] for key in wanted if _fits(state.get(key), wanted[key])}


def _adapted(adapt, state, net):
    "timm's own translation of other projects' names; unchanged if it cannot translate them."
    try:
        return adapt(state, net)
    except (KeyError, IndexError, AttributeError, ValueError, RuntimeError):
        return state


def _stripped(state, wanted):
    for prefix in PREFIXES:
        names = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if names.keys() & wanted.keys():
            return names
    return state


def _same_shapes(state, wanted):
    return all(_fits(state.get(key), tensor) for key, tensor in wanted.items())


def _fits(tensor, wanted):
    return isinstance(tensor, torch.Tensor) and tensor.shape == wanted.shape
