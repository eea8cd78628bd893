"""Save and load a trained model and what rebuilds it: safetensors and JSON only."""

import errno
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vlg_fastai.config import UserError
from vlg_fastai.data.view import FITS, View
from vlg_fastai.model import backbone
from vlg_fastai.model.blend import Blend
from vlg_fastai.model.head import HEADS, assemble
from vlg_fastai.model.sources import Source
from vlg_fastai.runs.facts import FACTS
from vlg_fastai.runs.files import replacing
from vlg_fastai.runs.run import WEIGHTS

CHANNELS = 3


@dataclass(frozen=True)
class ModelSpec:
    "What predict needs to know about a model: how to build it, feed it and read its output."

    arch: str
    head: str
    classes: list[str]
    view: View
    prior: list[float]  # share of each class among the training photos
    temperature: float = 1.0
    members: list = field(default_factory=list)  # of a blend: {head, share, temperature} of each

    def facts(self):
        return asdict(self)

    @classmethod
    def of_run(cls, run):
        "The ModelSpec in the facts of `run`; UserError if its values are impossible."
        try:
            known = {key: getattr(run.facts, key) for key in cls.__dataclass_fields__}
            spec = cls(**{**known, "view": View.stored(known["view"])})
            odd = [name for name, holds in spec.checks().items() if not holds]
        except (KeyError, TypeError, ValueError) as error:
            odd = [f"{type(error).__name__} {error}"]
        if odd:
            raise UserError(f"--run {run.path}: {FACTS} is damaged ({', '.join(odd)}); retrain")
        return spec

    def places(self, labels):
        "(n,) index of each of `labels` among the classes."
        numbers = {label: i for i, label in enumerate(self.classes)}
        return np.array([numbers[label] for label in labels], int)

    @property
    def strange(self):
        "The classes that no labelled photo shows, only extra ones."
        return [label for label, share in zip(self.classes, self.prior, strict=True) if not share]

    @property
    def heads(self):
        "The head of each net in the model, in order."
        return [one["head"] for one in self.members] or [self.head]

    def checks(self):
        "{part: whether it is valid}; a model fed or read wrongly would predict all the same."
        view, shares = self.view, np.array(self.prior, float)
        return {
            "head": all(head in HEADS for head in self.heads),
            "members": all(one["share"] > 0 and one["temperature"] > 0 for one in self.members),
            "classes": len(set(self.classes)) == len(self.classes) >= 2,
            "prior": _numbers(shares, len(self.classes))
            and shares.min() >= 0
            and abs(shares.sum() - 1) < 1e-3,
            "temperature": _numbers([self.temperature], 1) and self.temperature > 0,
            "mean": _numbers(view.mean, CHANNELS),
            "std": _numbers(view.std, CHANNELS) and min(view.std) > 0,
            "size": _numbers([view.size], 1) and view.size >= 1,
            "how": view.how in FITS,
            "crop_pct": _numbers([view.crop_pct], 1) and 0 < view.crop_pct <= 1,
        }


def _numbers(values, count):
    values = np.asarray(values, float)
    return len(values) == count and bool(np.isfinite(values).all())


@dataclass(frozen=True)
class Weights:
    "Tensors to save as a model when no model holds them, or when it is still training."

    state: dict

    def state_dict(self):
        return self.state


def finite(model):
    "Whether all weights and statistics of `model` are finite."
    tensors = (t for t in model.state_dict().values() if t.is_floating_point())
    return all(bool(t.isfinite().all()) for t in tensors)


def size_of(model):
    "Bytes that the weights of `model` take in a file."
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def save(folder, model):
    "Write the weights of `model` to `folder`; UserError if they are not finite."
    if not finite(model):
        raise UserError(f"{folder}: not saving non-finite weights")
    write_tensors(folder / WEIGHTS, model.state_dict())


def tensor(array):
    "The numpy `array` as a contiguous tensor, ready to be saved."
    return torch.as_tensor(np.ascontiguousarray(array))


def write_tensors(path, tensors):
    "Write {name: tensor} as safetensors."
    state = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replacing(path) as beside:
        try:
            save_file(state, str(beside), metadata={"format": "pt"})
        except SafetensorError as error:  # it has no errno; most mean a full disk
            raise OSError(errno.ENOSPC, str(error)) from None


def built(spec):
    "The model that `spec` describes, with untrained weights."
    source, size = Source(spec.arch, "nothing"), spec.view.size
    nets = [
        assemble(backbone.create(source, size), head, len(spec.classes), source, size)
        for head in spec.heads
    ]
    if not spec.members:
        return nets[0]
    return Blend(nets, *([one[key] for one in spec.members] for key in ("share", "temperature")))


def load(run, machine):
    "(model, ModelSpec) of `run`, in eval mode on the device of `machine`."
    try:
        spec = ModelSpec.of_run(run)
        model = built(spec)
        model.load_state_dict(load_file(run.path / WEIGHTS))
        if not finite(model):
            raise RuntimeError("it has non-finite weights")
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--run {run.path}: its model cannot be rebuilt ({reason})") from None
    return model.to(machine.device, memory_format=machine.memory_format).eval(), spec
