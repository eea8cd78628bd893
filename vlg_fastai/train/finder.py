"""Find a Learner's learning rate with fastai's finder, and draw its curve."""

import numpy as np
from fastai.callback.core import CancelFitException
from fastai.callback.schedule import LRFinder, ParamScheduler, valley
from matplotlib.figure import Figure

from vlg_fastai.console import Lines, say
from vlg_fastai.machine.transfer import Coming
from vlg_fastai.runs.files import replacing
from vlg_fastai.train.trial import undone

LOWEST_LR, HIGHEST_LR = 1e-5, 1e-1  # what the finder may suggest
MOST, LEAST, EPOCHS = 100, 40, 10  # batches: as fastai; fewer where that is many epochs
EXPLODED = 4  # times the least loss: where to stop, as fastai
HEAD, TAIL = 10, 5  # of the curve: the first tenth and last five losses are dropped, as in fastai
WHAT = "learning rate, batch"
CURVE = "lr_find.png"
BLUE, GREY = "#0072B2", "#8c8c8c"


class Sweep(LRFinder):
    """fastai's finder with progress, its copy of the weights in memory: no file, so no pickle.

    A loss is looked at once the next batch is launched, lest a GPU wait for it.
    """

    def __init__(self, steps, live):
        super().__init__(num_it=steps)
        self.bar, self.lines = live, Lines(WHAT, steps)

    def before_fit(self):
        ParamScheduler.before_fit(self)
        self.best_loss, self.coming = float("inf"), None
        self.task = self.bar.add_task(WHAT, total=self.num_it)

    def after_batch(self):
        self.bar.update(self.task, completed=self.train_iter)
        self.lines.update(self.train_iter)
        ParamScheduler.after_batch(self)
        before, self.coming = self.coming, Coming(self.smooth_loss)
        if before and self._explodes(float(before.here)):
            del self.recorder.lrs[-1], self.recorder.losses[-1]  # of the batch launched meanwhile
            raise CancelFitException
        if self.train_iter >= self.num_it:
            raise CancelFitException

    def _explodes(self, loss):
        self.best_loss = min(self.best_loss, loss)
        return loss > EXPLODED * self.best_loss

    def after_fit(self):
        self.bar.remove_task(self.task)
        self.learn.opt.zero_grad()


def find_lr(learn, folder, live, cbs=()):
    """Return the learning rate of the longest valley, between `LOWEST_LR` and `HIGHEST_LR`.

    Weights, optimizer and every random generator are left as before; the curve goes to lr_find.png
    in `folder`. live: the bar on the screen; cbs: callbacks that the fit requires.
    """
    with undone(learn):
        curve = _swept(learn, live, cbs)
    lr = float(np.clip(_lowest(*curve), LOWEST_LR, HIGHEST_LR))
    draw(*curve, lr, folder / CURVE)
    say(f"learning rate found: {lr:.2g}; its curve is in {folder / CURVE}")
    return lr


def _swept(learn, live, cbs):
    "(rates, smoothed losses) of a fit whose rate rises with each batch until the loss does."
    epoch = len(learn.dls.train)
    steps = min(MOST, max(LEAST, EPOCHS * epoch))
    learn.fit(steps // epoch + 1, cbs=[Sweep(steps, live), *cbs])
    seen = learn.recorder
    shown = slice(steps // HEAD, -TAIL)
    rates, losses = np.array(seen.lrs)[shown], np.array([float(loss) for loss in seen.losses])
    losses = losses[shown]
    good = np.cumsum(~np.isfinite(losses)) == 0  # drop all from the first non-finite loss
    return rates[good], losses[good]


def _lowest(rates, losses):
    return valley(rates, losses, len(losses))[0] if len(losses) > 1 else LOWEST_LR


def draw(rates, losses, lr, path):
    "Plot loss over learning rate, with the chosen rate marked."
    figure = Figure(figsize=(5.5, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=BLUE)
    axes.axvline(lr, color=GREY, linestyle="--")
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="smoothed training loss")
    axes.set_title(f"learning rate found: {lr:.2g}", fontsize=11)
    with replacing(path) as beside:
        figure.savefig(beside)
