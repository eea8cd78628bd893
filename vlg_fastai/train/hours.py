"""Train as many epochs as fit in a limit of hours, under a schedule that ends when they do."""

import time
from dataclasses import dataclass

from fastai.callback.core import (
    Callback,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)

from vlg_fastai.cli import STARTED
from vlg_fastai.console import clock, muted, say
from vlg_fastai.data.folder import layout
from vlg_fastai.machine.ranks import ALONE
from vlg_fastai.machine.transfer import wait_for
from vlg_fastai.train.trial import undone

BATCHES = 6  # batches timed before the fit; the first does not count
FORWARD = 1 / 3  # time of a batch that is only predicted, as a share of a training batch
NETS = 4  # nets scored after a fit: the last, and its averages with the starting point
MARGIN, LEAST = 1.5, 4.0  # factor and minimum seconds reserved for what comes after the fit
RECENT = 0.2  # weight of the newest batch in the estimated time per batch


@dataclass(frozen=True)
class After:
    "What remains to do after the fit: photos to score nets on, and photos to predict."

    scored: int
    predicted: int

    @classmethod
    def of(cls, prepared):
        shown = 2 if prepared.copies else 1
        with muted():
            test = layout(prepared.cfg.data, cfg=prepared.cfg).test
        files = sum(path.is_file() for path in test.rglob("*")) if test else 0
        return cls(int(prepared.held.sum()) * shown * NETS, files)

    def seconds(self, a_photo):
        "Seconds it takes if a prediction takes `a_photo` seconds."
        return LEAST + MARGIN * a_photo * (self.scored + self.predicted)


class Timed(Callback):
    "Time a few batches without changing any weight."

    order = 90
    seconds = 0.0

    def before_step(self):
        raise CancelStepException

    def after_batch(self):
        wait_for(self.dls.device)
        if self.iter == 0:
            self.start = time.monotonic()
        else:
            self.seconds = (time.monotonic() - self.start) / self.iter
        if self.iter + 1 >= BATCHES:
            raise CancelFitException("enough is known")

    def before_validate(self):
        raise CancelValidException


def seconds_a_batch(learn, cbs=()):
    """Measure how long a training batch of `learn` takes; model and generators are left unchanged.

    cbs: callbacks that the fit requires.
    """
    timed, start = Timed(), time.monotonic()
    with undone(learn):
        learn.fit(1, cbs=[timed, *cbs])
    return timed.seconds or time.monotonic() - start


class InTime(Callback):
    """Fit as many epochs, up to `most`, as end within `hours` of the start of the process, with
    time for what comes after them.

    Time is measured again after each epoch. If fewer epochs fit than planned, the rest of the
    schedule runs faster; if not even this epoch fits, it runs out within it: it always ends low.
    ranks: processes that decide alike, by the clock of the first.
    """

    order = -999  # before every callback that reads the number of epochs
    kept = ("total", "place")
    ranks = ALONE

    def __init__(self, hours, most, after, a_batch, what="epochs"):
        self.deadline, self.most, self.after = 3600 * hours, most, after
        self.what = what
        self.a_batch, self.total, self.place, self.recorded = a_batch, None, None, False
        self.a_photo, self.validating = None, None

    def plan(self, learn, done=0):
        "Decide how many epochs there will be, including `done` ones, and report it."
        train, valid = learn.dls.train, learn.dls.valid
        self.a_photo = FORWARD * self.a_batch / train.bs
        self.validating = self.a_photo * len(valid.dataset)
        epoch, after = self.epoch_seconds(len(train)), self.after.seconds(self.a_photo)
        self.total = min(done + self.fitting(len(train)), self.most)
        say(
            f"--hours: {clock(self.now())} elapsed, an epoch takes {clock(epoch)},"
            f" scoring and predict.py {clock(after)}: {self.total} of {self.most} {self.what} fit"
        )
        return self.total

    def go_on(self, learn, kept):
        """Resume the plan of the checkpoint `kept`; for a run that had no limit, plan now and bend
        its schedule from where it stands."""
        place, told = kept["place"], kept["callbacks"].get("InTime")
        planned = self.plan(learn, place["epoch"])
        self.recorded = told is not None
        if self.recorded:
            self.total = told["total"]
            say(f"--hours: keeping the {self.total} {self.what} planned when the run began")
        elif planned < self.most:
            self.place = place["pct_train"]

    def epoch_seconds(self, batches):
        "Seconds that an epoch of `batches` takes, including validation."
        return self.a_batch * batches + self.validating

    def fitting(self, batches):
        "How many epochs of `batches` fit; the last may be shortened, by less than half."
        return round(max(self.left() / self.epoch_seconds(batches), 0))

    def now(self):
        "Seconds since the process, or the first of several, has started."
        return self.ranks.told(time.monotonic() - STARTED)

    def left(self):
        "Seconds left for the fit."
        return self.deadline - self.after.seconds(self.a_photo) - self.now()

    def before_fit(self):
        self.tick = None

    def before_epoch(self):
        if self.epoch >= self.total:  # the checkpoint was of the last epoch
            raise CancelFitException("no more epochs fit")
        self.learn.n_epoch = self.total  # the loop started with `most`
        self.learn.progress.total += self.total - getattr(self, "shown", self.most)
        self.shown = self.total

    def before_train(self):
        self.tick = self.now()

    def before_batch(self):
        if self.training and self.place is not None:
            self.learn.pct_train = self.place

    def after_batch(self):
        if not self.training:
            return
        now = self.now()
        self.a_batch += RECENT * (now - self.tick - self.a_batch)
        self.tick, done = now, self.dls.train.skipped + self.iter + 1
        rest = self.n_iter - done
        fits = int((self.left() - self.validating) / self.a_batch)
        if fits < rest:  # not even this epoch fits: it is the last, and shortened
            self.total, rest = self.epoch + 1, max(fits, 0)
        elif self.place is not None:
            rest += (self.total - self.epoch - 1) * self.n_iter
        if fits < self.n_iter - done and self.place is None:
            self.place = self.pct_train
        if self.place is not None:
            self.place = min(self.place + (1 - self.place) / max(rest, 1), 1.0)
        if rest == 0 and done < self.n_iter:
            raise CancelTrainException("the time is used up")

    def after_train(self):
        self.learn.recorder.cancel_train = False  # else a shortened epoch has no training loss

    def before_validate(self):
        self.since = self.now()

    def after_validate(self):
        self.validating = self.now() - self.since
        if len(self.dls.valid.dataset):
            self.a_photo = self.validating / len(self.dls.valid.dataset)


class Enough(Callback):
    "Plan again after an epoch, and end the fit after the last one that fits."

    order = 67  # once this epoch is saved

    def __init__(self, in_time):
        self.time = in_time

    def after_epoch(self):
        plan, done = self.time, self.epoch + 1
        more = plan.fitting(len(self.dls.train))
        total = min(done + more, plan.total if plan.recorded else plan.most)
        if total != plan.total and done < max(total, plan.total):
            say(f"--hours: {total} {plan.what} fit now, {plan.total} were planned")
            plan.place = done / plan.total if plan.place is None else plan.place
            plan.total = max(total, done)
        if done >= plan.total:
            raise CancelFitException("no more epochs fit")
