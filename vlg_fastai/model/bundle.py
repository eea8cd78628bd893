"""A trained model and what rebuilds it, in and out of a run folder: safetensors and JSON only."""

from dataclasses import asdict, dataclass

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vlg_fastai.config import UserError
from vlg_fastai.data.loaders import View
from vlg_fastai.model import backbone
from vlg_fastai.model.head import assemble
from vlg_fastai.model.sources import Source
from vlg_fastai.runs import replacing

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Card:
    "What predict needs to know of a model: how to build it, feed it and read it."

    arch: str
    head: str
    classes: list[str]
    view: View
    prior: list[float]  # share of each class among the training photos
    temperature: float = 1.0

    def facts(self):
        return asdict(self)

    @classmethod
    def of(cls, run):
        "The card in the facts of `run`."
        known = {key: run.facts[key] for key in cls.__dataclass_fields__}
        return cls(**{**known, "view": View(**known["view"])})


def save(run, model):
    "Write the weights of `model` into the folder of `run`."
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(run.path / WEIGHTS) as beside:
        save_file(state, str(beside), metadata={"format": "pt"})


def load(run, machine):
    "(model, card) of `run`, in eval mode on the device of `machine`."
    try:
        card = Card.of(run)
        source = Source(card.arch, "nothing")
        net = backbone.create(source, card.view.size)
        model = assemble(net, card.head, len(card.classes), source, card.view.size)
        model.load_state_dict(load_file(run.path / WEIGHTS))
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--run {run.path}: its model cannot be rebuilt ({reason})") from None
    return model.to(machine.device, memory_format=machine.memory_format).eval(), card
