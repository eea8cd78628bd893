"""fastai's loader with a random seed of its own per photo, so that an epoch can resume anywhere.

The seed comes from the number of the epoch and the photo's place in its order. So what a photo
looks like depends neither on how many processes read, nor on where an epoch was interrupted.
"""

import random
from contextlib import contextmanager

import fastai.callback.data as weighted
import numpy as np
import torch
from fastai.data.core import TfmdDL
from fastai.data.load import fa_collate

from vlg_fastai.machine.randomness import python_state

MOST = 2**32
STEP = 1_000_003  # between the seeds of one epoch and the next: more than most folders have photos


class Numbers(torch.Generator):
    "A generator recreated in reader processes: they need none, and its state cannot be shared."

    def __reduce__(self):
        return Numbers, ()


class Plain(TfmdDL):
    "A TfmdDL that raises the original error; fastai's report on shapes fails on our batches."

    def create_batch(self, samples):
        return fa_collate(samples)


class Placed(Plain):
    "A TfmdDL that can resume: `kept` returns its position, `go_on` restores it."

    number, order, skipped, resumed = 0, (), 0, False

    def randomize(self):
        if not self.resumed:  # else the numbers of this epoch are already drawn
            super().randomize()

    def get_idxs(self):
        if not self.resumed:
            self.order, self.skipped = [int(i) for i in super().get_idxs()], 0
            self.number = self.rng.randrange(MOST)
        self.resumed = False
        # without it torch draws a seed for each iterator from the generator that dropout uses too
        self.fake_l.generator = Numbers()
        self.fake_l.generator.manual_seed(self.number)
        return list(enumerate(self.order))[self.skipped * self.bs :]

    def do_item(self, s):
        if s is None:
            return super().do_item(None)
        place, item = s
        if not self.shuffle:
            return super().do_item(item)
        with drawn_by((self.number * STEP + place) % MOST):
            return super().do_item(item)

    def kept(self, batches):
        "State for `go_on`, `batches` into the epoch; 0 means before the next epoch begins."
        told = {"rng": list(self.rng.getstate()), "batches": batches}
        return {**told, "number": self.number, "order": list(self.order)} if batches else told

    def go_on(self, told):
        "Read the rest of the epoch that `kept` described, and order later epochs the same way."
        self.rng.setstate(python_state(told["rng"]))
        if told["batches"]:
            there = len(self.dataset)
            self.number, self.order = told["number"], [i for i in told["order"] if i < there]
            self.skipped, self.resumed = told["batches"], True


class Sampled(weighted.WeightedDL):
    """A WeightedDL whose epoch may be shorter than its photos are many. first, later: weights of
    the first epochs and of the last ones, where they differ."""

    first = later = None

    def get_idxs(self):
        if self.n in (0, len(self.wgts)) or not self.shuffle:
            return super().get_idxs()
        return list(np.random.choice(len(self.wgts), self.n, p=self.wgts))


class WeightedPlaced(Placed, Sampled):
    "The same with photos sampled by weight."


@contextmanager
def drawn_by(number):
    "Seed all generators with `number` for the block; restore their state afterwards."
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
