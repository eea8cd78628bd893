"""Average the weights of nets of the same architecture."""

from copy import deepcopy

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from vlg_fastai.machine.precision import autocast

BATCHES = 32  # training batches used to estimate the BatchNorm statistics of an average


def average(one, other, alpha, batches, machine):
    """A model whose weights lie a fraction `alpha` of the way from `one` to `other` (WiSE-FT,
    Wortsman et al., 2022). If the two differ in their BatchNorm statistics, those of the average
    are estimated again from training `batches`."""
    return mean([one, other], batches, machine, (1 - alpha, alpha))


def mean(models, batches, machine, shares=None):
    "The weighted mean of any number of `models`, by their `shares`, or equal shares."
    model, states = deepcopy(models[0]), [one.state_dict() for one in models]
    shares = shares or [1 / len(models)] * len(models)

    def mixed(key, value):
        if not value.is_floating_point():
            return value
        return sum(share * state[key] for share, state in zip(shares, states, strict=True))

    model.load_state_dict({key: mixed(key, value) for key, value in states[0].items()})
    if not all(_same_statistics(states[0], state) for state in states[1:]):
        estimate_batch_norm(model, batches, machine)
    return model.eval()


def _same_statistics(state, other):
    return all(torch.equal(state[key], other[key]) for key in state if "running_" in key)


def estimate_batch_norm(model, batches, machine):
    "Set every BatchNorm statistic of `model` to its mean over `batches`; change nothing else."
    layers = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # in torch: every batch counts equally
    model.train()
    with torch.no_grad(), autocast(machine):
        for _, (x, *_) in zip(range(BATCHES), batches, strict=False):
            x = x.as_subclass(torch.Tensor)
            model(x.contiguous(memory_format=machine.memory_format))
    for layer, momentum in layers.items():
        layer.momentum = momentum
