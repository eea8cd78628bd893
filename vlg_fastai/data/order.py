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
from fastai.torch_core import to_device

from vlg_fastai.data.readers import Readers
from vlg_fastai.machine.randomness import python_state
from vlg_fastai.machine.ranks import ALONE

MOST = 2**32
STEP = 1_000_003  # between the seeds of one epoch and the next: more than most folders have photos


class Plain(TfmdDL):
    """A TfmdDL whose copies to a GPU nobody waits for, and whose processes may outlive an epoch
    (`lasting`): fastai's own start again for each. An error is the original one: fastai's report
    on shapes fails on our batches.
    """

    lasting, readers, resident = False, None, None  # the last: photos that lie on the device

    def __iter__(self):
        self.randomize()
        self.before_iter()
        for batch in self._read(self.get_idxs()):
            yield self.after_batch(self.moved(batch))
        self.after_iter()

    def _read(self, order):
        if self.resident is not None:
            return self.resident.batches(order, self.bs, self.drop_last, self.shuffle)
        if not self.fake_l.num_workers:  # `one_batch` sets this to 0 as well
            return self.create_batches(order)
        readers = self.readers or Readers(self, self.fake_l.num_workers, self.lasting)
        self.readers = readers if self.lasting else None
        return readers.batches(order)

    def moved(self, batch):
        "`batch` on the device, or on its way there."
        return to_device(tuple(batch), self.device, non_blocking=self.pin_memory)

    def create_batch(self, samples):
        return fa_collate(samples)

    def __getstate__(self):
        return {**self.__dict__, "readers": None}  # a process that reads needs no others


class Placed(Plain):
    """A TfmdDL that can resume: `kept` returns its position, `go_on` restores it.

    ranks: the processes that share each batch of training, of which each reads `bs` photos, and the
    photos of validation. told: whether the first one's order is that of all, as it is in a fit.
    """

    number, order, skipped, resumed = 0, (), 0, False
    ranks, told = ALONE, False

    def __len__(self):
        if self.ranks.count == 1:
            return super().__len__()
        whole = self.bs * self.ranks.count
        return self.n // whole if self.drop_last else -(-self.n // whole)

    def randomize(self):
        if not self.resumed:  # else the numbers of this epoch are already drawn
            super().randomize()

    def get_idxs(self):
        "[(seed, item)] of the photos of the epoch that are still to come."
        if not self.resumed:
            self.order, self.skipped = [int(i) for i in super().get_idxs()], 0
            self.number = self.rng.randrange(MOST)
        self.resumed = False
        if self.told:
            self.number, *self.order = self.ranks.told([self.number, *self.order])
        first = self.number * STEP
        seeded = [((first + place) % MOST, item) for place, item in enumerate(self.order)]
        return self._share(seeded)

    def _share(self, order):
        "What this process reads of the `order` of all; of the whole batches that are left of it."
        own, count = self.ranks.number, self.ranks.count
        if self.drop_last:  # each process must take as many steps as the others
            whole = self.bs * count
            return order[self.skipped * whole : len(order) // whole * whole][own::count]
        each = -(-len(order) // count)
        return order[self.skipped * self.bs :][own * each :][:each]

    def do_item(self, s):
        if s is None:
            return super().do_item(None)
        seed, item = s
        if not self.shuffle:
            return super().do_item(item)
        made = self._drawn(seed, item)
        return self._another(seed, item) if made is None and self.ranks.count > 1 else made

    def _another(self, seed, item):
        "The next photo that can be read: a photo short, this process would take fewer steps."
        there = len(self.dataset)
        drawn = (self._drawn(seed, (item + step) % there) for step in range(1, there))
        return next((made for made in drawn if made is not None), None)

    def _drawn(self, seed, item):
        with drawn_by(seed):
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
def lasting(dls):
    """Let the processes that read for `dls` live until the block ends, not until an epoch does.

    They must be ended by name: loaders and Learners refer to themselves, and where the garbage
    collector is the one to find them, torch waits 15 s for each process.
    """
    for dl in dls:
        dl.lasting = True
    try:
        yield
    finally:
        for dl in dls:
            dl.lasting, dl.readers = False, None


@contextmanager
def shared(dls, ranks):
    "Let each of the processes `ranks` read its share of the batches of `dls` until the block ends."
    for dl in dls:
        dl.ranks, dl.bs = ranks, dl.bs // ranks.count
    try:
        yield
    finally:
        for dl in dls:
            dl.ranks, dl.bs = ALONE, dl.bs * ranks.count


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
