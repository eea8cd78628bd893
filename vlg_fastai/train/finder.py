"""Learner in, the learning rate that fastai's finder suggests out, and a picture of its curve."""

import numpy as np
from fastai.callback.schedule import LRFinder, ParamScheduler, valley
from matplotlib.figure import Figure

from vlg_fastai.console import Lines, say
from vlg_fastai.runs.files import replacing
from vlg_fastai.train.trial import undone

LOWEST_LR, HIGHEST_LR = 1e-5, 1e-1  # what the finder may suggest
MOST, LEAST, EPOCHS = 100, 40, 10  # batches: as fastai, and where that is many epochs of few photos
HEAD, TAIL = 10, 5  # of the curve: a tenth and five losses are left out, as fastai does
WHAT = "learning rate, batch"
CURVE = "lr_find.png"
BLUE, GREY = "#0072B2", "#8c8c8c"


class Sweep(LRFinder):
    "fastai's finder, its copy of the weights in memory: no file, and so no pickle; with progress."

    def __init__(self, steps, live):
        super().__init__(num_it=steps)
        self.bar, self.lines = live, Lines(WHAT, steps)

    def before_fit(self):
        ParamScheduler.before_fit(self)
        self.best_loss = float("inf")
        self.task = self.bar.add_task(WHAT, total=self.num_it)

    def after_batch(self):
        self.bar.update(self.task, completed=self.train_iter)
        self.lines.update(self.train_iter)
        super().after_batch()

    def after_fit(self):
        self.bar.remove_task(self.task)
        self.learn.opt.zero_grad()


def find_lr(learn, folder, live, cbs=()):
    """The learning rate of the longest valley, between `LOWEST_LR` and `HIGHEST_LR`.

    Weights, optimizer and every random generator are as before; the curve goes to lr_find.png in
    `folder`. live: the bar that is on the screen; cbs: what the fit cannot do without.
    """
    with undone(learn):
        curve = _swept(learn, live, cbs)
    lr = float(np.clip(_lowest(*curve), LOWEST_LR, HIGHEST_LR))
    draw(*curve, lr, folder / CURVE)
    say(f"learning rate found: {lr:.2g}; its curve is in {folder / CURVE}")
    return lr


def _swept(learn, live, cbs):
    "(rates, smoothed losses) of a fit whose rate rises batch by batch until the loss does."
    epoch = len(learn.dls.train)
    steps = min(MOST, max(LEAST, EPOCHS * epoch))
    learn.fit(steps // epoch + 1, cbs=[Sweep(steps, live), *cbs])
    seen = learn.recorder
    shown = slice(steps // HEAD, -TAIL)
    rates, losses = np.array(seen.lrs)[shown], np.array([float(loss) for loss in seen.losses])
    losses = losses[shown]
    good = np.cumsum(~np.isfinite(losses)) == 0  # what follows the first that is no number is none
    return rates[good], losses[good]


def _lowest(rates, losses):
    return valley(rates, losses, len(losses))[0] if len(losses) > 1 else LOWEST_LR


def draw(rates, losses, lr, path):
    "Loss over learning rate, with the one that is taken."
    figure = Figure(figsize=(5.5, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=BLUE)
    axes.axvline(lr, color=GREY, linestyle="--")
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="smoothed training loss")
    axes.set_title(f"learning rate found: {lr:.2g}", fontsize=11)
    with replacing(path) as beside:
        figure.savefig(beside)
