"""A limit in hours in, as many epochs as fit out, under a schedule that ends when they do."""

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
from vlg_fastai.console import clock, say
from vlg_fastai.train.trial import undone

BATCHES = 6  # that are timed before the fit, the first of them left out
FORWARD = 1 / 3  # of the time of a training batch, that one which is only answered takes
NETS = 4  # that are scored after a fit: the last, and averages with where it began
MARGIN, LEAST = 1.5, 4.0  # on what is kept free for what comes after the fit, and seconds of it
RECENT = 0.2  # share of the newest batch in the time that a batch takes


@dataclass(frozen=True)
class After:
    "What is still to do when the fit is over: photos to score a net by, and to predict."

    scored: int
    predicted: int

    @classmethod
    def of(cls, prepared):
        shown = 2 if prepared.copies else 1
        test = prepared.cfg.data / "test"
        files = sum(path.is_file() for path in test.rglob("*")) if test.is_dir() else 0
        return cls(int(prepared.held.sum()) * shown * NETS, files)

    def seconds(self, a_photo):
        "What that takes where the answer on a photo takes so many."
        return LEAST + MARGIN * a_photo * (self.scored + self.predicted)


class Timed(Callback):
    "Take the time of a few batches that change no weight."

    order = 90
    seconds = 0.0

    def before_step(self):
        raise CancelStepException

    def after_batch(self):
        if self.iter == 0:
            self.start = time.monotonic()
        else:
            self.seconds = (time.monotonic() - self.start) / self.iter
        if self.iter + 1 >= BATCHES:
            raise CancelFitException("enough is known")

    def before_validate(self):
        raise CancelValidException


def seconds_a_batch(learn, cbs=()):
    """How long a training batch of `learn` takes; nothing of it is left in model or generators.

    cbs: what the fit cannot do without.
    """
    timed, start = Timed(), time.monotonic()
    with undone(learn):
        learn.fit(1, cbs=[timed, *cbs])
    return timed.seconds or time.monotonic() - start


class InTime(Callback):
    """Fit as many epochs, `most` at most, as end within `hours` of the start of the process, with
    what comes after them.

    Time is taken anew after each epoch. Where fewer fit than was planned, the rest of the schedule
    is run through faster, and where not even this epoch does, within it: it always ends low.
    """

    order = -999  # before all that asks how many epochs there are
    kept = ("total", "place")

    def __init__(self, hours, most, after, a_batch, what="epochs"):
        self.deadline, self.most, self.after = STARTED + 3600 * hours, most, after
        self.what = what
        self.a_batch, self.total, self.place, self.recorded = a_batch, None, None, False
        self.a_photo, self.validating = None, None

    def plan(self, learn, done=0):
        "Settle how many epochs there will be, `done` ones among them, and say it."
        train, valid = learn.dls.train, learn.dls.valid
        self.a_photo = FORWARD * self.a_batch / train.bs
        self.validating = self.a_photo * len(valid.dataset)
        epoch, after = self.epoch_seconds(len(train)), self.after.seconds(self.a_photo)
        self.total = min(done + self.fitting(len(train)), self.most)
        say(
            f"--hours: {clock(time.monotonic() - STARTED)} are gone, an epoch takes {clock(epoch)},"
            f" scoring and predict.py {clock(after)}: {self.total} of {self.most} {self.what} fit"
        )
        return self.total

    def go_on(self, learn, kept):
        """Take up the plan of the checkpoint `kept`; that of a run without a limit is made now, and
        its schedule bent from where it stands."""
        place, told = kept["place"], kept["callbacks"].get("InTime")
        planned = self.plan(learn, place["epoch"])
        self.recorded = told is not None
        if self.recorded:
            self.total = told["total"]
            say(f"--hours: the run keeps to the {self.total} {self.what} planned when it began")
        elif planned < self.most:
            self.place = place["pct_train"]

    def epoch_seconds(self, batches):
        "How long an epoch of so many batches takes, its validation included."
        return self.a_batch * batches + self.validating

    def fitting(self, batches):
        "How many epochs of so many batches fit; the last may be shortened, by less than half."
        return round(max(self.left() / self.epoch_seconds(batches), 0))

    def left(self):
        "Seconds that are left for the fit."
        return self.deadline - self.after.seconds(self.a_photo) - time.monotonic()

    def before_fit(self):
        self.tick = None

    def before_epoch(self):
        if self.epoch >= self.total:  # the checkpoint was of the last epoch
            raise CancelFitException("no more epochs fit")
        self.learn.n_epoch = self.total  # the loop has begun with `most`
        self.learn.progress.total += self.total - getattr(self, "shown", self.most)
        self.shown = self.total

    def before_train(self):
        self.tick = time.monotonic()

    def before_batch(self):
        if self.training and self.place is not None:
            self.learn.pct_train = self.place

    def after_batch(self):
        if not self.training:
            return
        now = time.monotonic()
        self.a_batch += RECENT * (now - self.tick - self.a_batch)
        self.tick, done = now, self.dls.train.skipped + self.iter + 1
        rest = self.n_iter - done
        fits = int((self.left() - self.validating) / self.a_batch)
        if fits < rest:  # not even this epoch: it is the last, and shorter
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
        self.learn.recorder.cancel_train = False  # or a shorter epoch has no training loss

    def before_validate(self):
        self.since = time.monotonic()

    def after_validate(self):
        self.validating = time.monotonic() - self.since
        if len(self.dls.valid.dataset):
            self.a_photo = self.validating / len(self.dls.valid.dataset)


class Enough(Callback):
    "Plan anew after an epoch, and end the fit after the last that fits."

    order = 67  # when this epoch is kept

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
