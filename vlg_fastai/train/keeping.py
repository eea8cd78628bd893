"""Save the best net of a fit so far to the run folder: a kill costs only what came after it."""

import numpy as np
from fastai.callback.core import Callback

from vlg_fastai.model import bundle, inference
from vlg_fastai.model.metrics import LOSSES
from vlg_fastai.runs.facts import FINE_TUNED, UNFINISHED
from vlg_fastai.train.candidates import Candidate
from vlg_fastai.train.evaluate import finish
from vlg_fastai.train.measuring import CalibratedNLL


class KeepBetter(Callback):
    """Write an epoch's net to the folder of `run` if it is better than the one there.

    Judged by --metric, after a temperature; the model that is kept in the end is chosen
    separately. about: a function that returns the facts of the run.
    """

    order, run_valid = 62, True  # after BestWeights (61), while an average of weights is shown
    kept = ("least",)

    def __init__(self, prepared, run, about, probe, writer):
        self.writer, self.prepared, self.run_folder, self.about = writer, prepared, run, about
        self.least = self._loss(probe.logits) if probe and prepared.held.any() else np.inf

    def _loss(self, z):
        y = self.prepared.labels[self.prepared.held]
        probs = inference.probabilities(z, inference.fit_temperature(z, y))
        return float(LOSSES[self.prepared.cfg.metric](probs, y).mean())

    def after_epoch(self):
        best, row = self.learn.best_weights, self.learn.history.rows[-1]
        z, held = self._answers(), int(self.prepared.held.sum())
        if best.epoch_of_best != row["epoch"] or len(z) != held or not np.isfinite(z).all():
            return
        if held and not (loss := self._loss(z)) < self.least:
            return
        self.least = loss if held else np.inf
        net = Candidate(FINE_TUNED, self.prepared.cfg.head, bundle.Weights(best.state), z)
        told = {**self.about(), "status": UNFINISHED, "best_epoch": best.chosen}
        self.writer.submit(
            finish, self.run_folder, self.prepared, net, {**told, "epochs": row["epoch"]}
        )

    def _answers(self):
        "(held-out photos, classes) logits of the validation that just ended."
        metric = next(m for m in self.learn.metrics if isinstance(m, CalibratedNLL))
        return metric.answers if metric.logits else np.zeros((0, self.dls.c))
