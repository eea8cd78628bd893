"""Turn labels and out-of-fold predictions into the training target of each photo."""

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import MixHandler
from torch.nn.functional import cross_entropy

from vlg_fastai.console import say
from vlg_fastai.model.doubts import pruned
from vlg_fastai.model.inference import fit_temperature, probabilities

LAST = 0.2  # share of the epochs, at the end, in which photos are not mixed
OWN = 0.25  # share of the epochs, at the end, in which no extra photos are learned from
SHARE = 0.5  # share of a soft target that is the probe's prediction and not the label


def given(y, probs):
    "(n, classes) as labelled."
    return np.eye(probs.shape[1], dtype=np.float32)[y]


def cleaned(y, probs):
    """As labelled, except photos that confident learning prunes both by class and by noise rate
    (Northcutt et al., 2021): those get the class that the probe predicts."""
    return given(np.where(pruned(y, probs), probs.argmax(1), y), probs)


def soft(y, probs):
    """Half the label, half the prediction of probes that never saw the photo.

    Self-distillation (Furlanello et al., 2018): a wrong label is half undone, similarity of two
    classes is conveyed, and a net that cannot memorize labels tolerates a higher learning rate.
    """
    return (1 - SHARE) * given(y, probs) + SHARE * probs.astype(np.float32)


TARGETS = {"given": given, "cleaned": cleaned, "soft": soft}


class Targets(Callback):
    """Train on `probs` (photos, classes) instead of labels: the last part of a batch holds the rows
    of its photos. Validation uses labels."""

    order = -5  # after the batch is on its device, before MixUp (0)

    def __init__(self, probs):
        self.probs = torch.as_tensor(probs)

    def before_fit(self):
        self.probs = self.probs.to(self.dls.device)

    def before_batch(self):
        label, row = self.yb
        self.learn.yb = (self.probs[row] if self.training else label,)


class Unmixed(Callback):
    """Turn off MixUp and CutMix in the last fifth of the epochs: predictions are made on whole
    photos (He et al., 2019; YOLOX turns off its mosaic in the same way)."""

    order = -1  # before they change the loss of an epoch

    def before_epoch(self):
        mixed = self.epoch < self.n_epoch - int(LAST * self.n_epoch)
        for callback in self.learn.cbs:
            if isinstance(callback, MixHandler):
                callback.run = mixed


class OwnPhotosLast(Callback):
    """In the last quarter of the epochs, sample only labelled photos of the classes that have some:
    predictions are made on such photos, not on extra ones."""

    def before_epoch(self):
        dl = self.dls.train
        last = self.epoch >= self.n_epoch - int(OWN * self.n_epoch)
        dl.wgts = dl.later / dl.later.sum() if last else dl.first


class TargetLoss:
    "Cross-entropy with labels (n,) or probabilities (n, classes), smoothed over all classes."

    y_int = False  # fastai's MixUp mixes the probabilities themselves

    def __init__(self, eps):
        self.eps = eps

    def __call__(self, pred, target):
        plain, target = (t.as_subclass(torch.Tensor) for t in (pred, target))
        return cross_entropy(plain, target, label_smoothing=self.eps)


def targets_of(prepared):
    """(photos, classes) targets for the table `taught` of `prepared`, from the training side alone;
    None for labels.

    Held-out photos have a row of zeros: they are never trained on.
    """
    kind, taught = prepared.cfg.targets, ~prepared.held
    if kind == "given":
        return None
    classes = prepared.spec.classes
    made = np.zeros((len(taught), len(classes)), np.float32)
    made[taught] = _taught(prepared, kind)
    more = prepared.taught["label"].iloc[len(made) :]  # extra photos keep their labels
    given = np.eye(len(classes), dtype=np.float32)[prepared.spec.places(more)]
    return np.concatenate([made, given])


def _taught(prepared, kind):
    if prepared.extractor is None:
        say(f"--targets {kind}: no trained backbone to fit a probe on; using labels as given")
        return given(prepared.labels[~prepared.held], np.zeros((0, len(prepared.spec.classes))))
    _, y, fold = prepared.training_side
    return TARGETS[kind](y, probabilities(fold.logits, fit_temperature(fold.logits, y)))
