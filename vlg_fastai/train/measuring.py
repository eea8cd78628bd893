"""Losses and metrics of an epoch that stay on the device until it ends.

fastai's own fetch a number from the device after every batch, which then waits for the next one.
"""

import numpy as np
import torch
from fastai.learner import AvgLoss, AvgMetric, AvgSmoothLoss, Metric
from fastai.metrics import accuracy
from fastai.torch_core import find_bs

from vlg_fastai.model.inference import fit_temperature, nll, probabilities
from vlg_fastai.model.metrics import figure


class SmoothLoss(AvgSmoothLoss):
    "fastai's smoothed training loss, left where it is."

    def accumulate(self, learn):
        self.count += 1
        loss = learn.loss.detach().mean()
        self.val = torch.lerp(loss, self.val.to(loss.device), self.beta)

    def gather(self, ranks):
        "Make it that of the batches of all processes."
        ranks.level([self.val])


class MeanLoss(AvgLoss):
    "fastai's mean validation loss, left where it is."

    def accumulate(self, learn):
        bs = find_bs(learn.yb)
        self.total += learn.loss.detach().mean() * bs
        self.count += bs

    def gather(self, ranks):
        "Make it that of the photos of all processes."
        self.total, self.count = ranks.total([float(self.total), self.count])


class MeanMetric(AvgMetric):
    "The mean of a function of predictions and labels over the photos, left where it is."

    def accumulate(self, learn):
        bs = find_bs(learn.yb)
        self.total += self.func(learn.pred, *learn.yb).detach() * bs
        self.count += bs

    gather = MeanLoss.gather


class CalibratedNLL(Metric):
    """Validation NLL after a fitted temperature: that of the probabilities predict.py will output.

    The raw NLL of a net trained with label smoothing mostly measures under-confidence.
    """

    name = "nll"

    def reset(self):
        self.logits, self.labels = [], []

    def accumulate(self, learn):
        self.logits.append(learn.pred.detach().float())
        self.labels.append(learn.y)

    def gather(self, ranks):
        "Make it that of the photos of all processes, which predicted one part each, in order."
        own = torch.zeros(0, 0)
        if self.labels:
            z, y = (_joined(one).cpu() for one in (self.logits, self.labels))
            own = torch.cat([z, y[:, None].float()], 1)  # exact to 16 million classes
        if len(found := ranks.gathered(own)):
            self.logits, self.labels = [found[:, :-1]], [found[:, -1].long()]

    @property
    def answers(self):
        "(held-out photos, classes) logits of the validation that just ended, or none."
        return _in_memory(self.logits)

    @property
    def value(self):
        if not self.labels:
            return float("nan")
        z, y = self.answers, _in_memory(self.labels)
        return self.judged(z, y, fit_temperature(z, y)) if np.isfinite(z).all() else float("nan")

    def judged(self, z, y, temperature):
        "The figure for logits `z` of labels `y`."
        return nll(z, y, temperature)


class Deciding(CalibratedNLL):
    "The metric named by --metric, for the same probabilities."

    def __init__(self, metric):
        self.name = metric

    def judged(self, z, y, temperature):
        return figure(self.name, probabilities(z, temperature), y)


def _joined(tensors):
    return torch.cat(tensors).as_subclass(torch.Tensor)


def _in_memory(tensors):
    return _joined(tensors).cpu().numpy() if tensors else np.zeros(0)


def metrics_of(metric):
    "The metrics of each epoch, including the one that decides, named by --metric."
    found = [CalibratedNLL(), MeanMetric(accuracy)]
    return found if metric in ("nll", "log_loss", "accuracy") else [*found, Deciding(metric)]


def keep_on_device(recorder):
    "Make fastai's `recorder` of a Learner read its losses once an epoch."
    recorder.loss, recorder.smooth_loss = MeanLoss(), SmoothLoss(recorder.smooth_loss.beta)
