"""Compute logits and probabilities of batches; validation and prediction share this path."""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn

from vlg_fastai.console import track
from vlg_fastai.machine.precision import autocast
from vlg_fastai.machine.transfer import Coming, one_behind
from vlg_fastai.model.batchnorm import folding

COOLEST, HOTTEST = 0.05, 20.0  # range of temperatures searched
LEAST = 1e-12  # lower bound on a probability
ENOUGH = 5_000  # photos that suffice for one temperature; all of 15,000 x 1,000 logits took 4.6 s


def logits(model, dl, machine, flip=False, what="predicting"):
    """float32 array (photos, classes), in the order of `dl`; `flip` adds those of mirrored photos.

    With `flip` the result is (2, photos, classes): as they are, and mirrored. A photo that cannot
    be read, or for which the model outputs non-finite numbers, has a row of NaN.
    """
    model.eval()
    rows = np.full((1 + flip, len(dl.dataset), width(model)), np.nan, np.float32)
    with folding(model, machine), torch.inference_mode(), autocast(machine):
        launched = ((x, _both(model, x), places) for x, places in _shown(dl, flip, what))
        for x, z, places in one_behind(launched):
            rows[:, places] = _finite(model, x, z.here)
    return rows if flip else rows[0]


def _shown(dl, flip, what):
    "Yield (photos as they are and, with `flip`, mirrored; their places) for each batch of `dl`."
    for x, places in track(dl, what, len(dl)):
        yield [x, x.flip(-1)] if flip else [x], places.cpu().numpy()


def width(model):
    "Number of classes of `model`: outputs of its last layer."
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1].out_features


def _both(model, views):
    "float32 logits of each of `views`, on their way to main memory."
    return Coming(torch.stack([model(view).float() for view in views]))


def _finite(model, views, z):
    "Logits `z` (views, n, classes); rows that are not finite in fp32 either are NaN throughout."
    if not torch.isfinite(z).all():  # fp16 ends at 65,504; some nets exceed it inside
        with torch.autocast(views[0].device.type, enabled=False):
            z = _both(model, views).here
    return torch.where(torch.isfinite(z).all(-1, keepdim=True), z, torch.nan).numpy()


def through(head, x, machine):
    "Logits (n, classes) of features `x` (n, d) through `head`."
    with torch.inference_mode():
        return head.eval()(torch.as_tensor(x, device=machine.device)).cpu().numpy()


def probabilities(z, temperature):
    "Softmax of logits `z` (..., classes) over a temperature."
    return softmax(np.asarray(z, dtype=np.float64) / temperature, axis=-1)


def logs(probs):
    "Logits (..., classes) equivalent to the probabilities `probs`: their logarithms."
    return np.log(np.maximum(probs, LEAST))


def retempered(probs, temperature):
    "Probabilities (n, classes) computed at temperature 1, converted to another temperature."
    return probabilities(logs(probs), temperature)


def nll(z, y, temperature=1.0):
    "Mean negative log-likelihood, in nats, of labels `y` (n,) under logits `z` (n, classes)."
    z = np.asarray(z, dtype=np.float64) / temperature
    return float(-log_softmax(z, axis=1)[np.arange(len(y)), y].mean())


def fit_temperature(z, y):
    """The temperature that makes logits `z` likeliest on labels `y` (Guo et al., 2017).

    1.0 if there is nothing to fit on. Label smoothing of 0.2 leaves a short fine-tuning heavily
    under-confident: its temperature is near 0.5.
    """
    if len(y) == 0:
        return 1.0
    some = np.linspace(0, len(y) - 1, min(len(y), ENOUGH)).astype(int)
    z, y = np.asarray(z)[some], np.asarray(y)[some]
    bounds = (np.log(COOLEST), np.log(HOTTEST))
    found = minimize_scalar(lambda log: nll(z, y, np.exp(log)), bounds=bounds, method="bounded")
    return float(np.exp(found.x))
