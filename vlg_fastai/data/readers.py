"""Processes that read photos for a fastai loader, for an epoch or for many."""

import torch
from fastcore.basics import chunked
from torch.utils.data import DataLoader


class Readers:
    """torch's DataLoader with persistent workers, asked for the batches of each epoch in turn.

    Its processes see the loader `dl` as it is now: all that changes from epoch to epoch must be in
    the order they are given. lasting: whether they outlive an epoch.
    """

    def __init__(self, dl, processes, lasting):
        self.asked, reading = Asked(dl.bs, dl.drop_last), Reading(dl)
        self.loader = DataLoader(
            reading,
            batch_sampler=self.asked,
            collate_fn=reading.batch,
            num_workers=processes,
            pin_memory=dl.pin_memory,
            worker_init_fn=reading.begin,
            persistent_workers=lasting,
            generator=torch.Generator(),  # torch's own also feeds dropout
        )

    def batches(self, order):
        "Yield the batches of the items in `order`, without those of which nothing could be read."
        self.asked.order = order
        return (batch for batch in self.loader if batch is not None)


class Asked:
    "The batches of an epoch, as lists of items."

    def __init__(self, bs, drop_last):
        self.order, self.bs, self.drop_last = (), bs, drop_last

    def __iter__(self):
        return chunked(self.order, self.bs, self.drop_last)


class Reading:
    "What a process does: read the items of a batch as the loader `dl` would."

    def __init__(self, dl):
        self.dl = dl

    def __getitem__(self, item):
        return self.dl.do_item(item)

    def begin(self, number):
        self.dl.wif()

    def batch(self, items):
        "The items as a batch, without those that were skipped; None if too few are left."
        there = [item for item in items if item is not None]
        # batch norm cannot train on a single photo
        return self.dl.do_batch(there) if len(there) > self.dl.shuffle else None
