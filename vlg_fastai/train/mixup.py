"""fastai's MixUp and CutMix for a GPU that never waits: what is drawn is drawn in main memory."""

import torch
from fastai.callback import mixup

from vlg_fastai.machine.transfer import sent


class MixUp(mixup.MixUp):
    "fastai's MixUp (Zhang et al., 2018), with the same numbers."

    def before_batch(self):
        shares = self.distrib.sample((len(self.y),))
        self.lam = sent(torch.maximum(shares, 1 - shares), self.x.device)
        order = sent(torch.randperm(len(self.y)), self.x.device)
        self.learn.xb = (torch.lerp(self.x[order], self.x, self.lam.view(-1, 1, 1, 1)),)
        mix_targets(self, order, self.lam.view(-1, 1))


class CutMix(mixup.CutMix):
    "fastai's CutMix (Yun et al., 2019), with the same rectangles."

    def before_batch(self):
        *_, height, width = self.x.shape
        share, order = self.distrib.sample((1,)), torch.randperm(len(self.x))
        left, right, top, bottom = rectangle(width, height, share)
        order = sent(order, self.x.device)
        patch = self.x[order, :, top:bottom, left:right]
        self.learn.xb[0][..., top:bottom, left:right] = patch
        self.lam = 1 - (right - left) * (bottom - top) / (width * height)
        mix_targets(self, order, self.lam)


def rectangle(width, height, share):
    "(left, right, top, bottom) of a cut that leaves about `share` of a photo, at a random place."
    sides = [int(torch.round(length * (1 - share).sqrt())) for length in (width, height)]
    return [edge for pair in map(_edges, sides, (width, height)) for edge in pair]


def _edges(side, length):
    middle = int(torch.randint(0, length, (1,)))
    return max(middle - side // 2, 0), min(middle + side // 2, length)


def mix_targets(mixer, order, share):
    "Mix probabilities now; for integer labels, fastai mixes the losses of both."
    mixer.yb1 = (mixer.y[order],)
    if not mixer.stack_y:
        mixer.learn.yb = (torch.lerp(*mixer.yb1, mixer.y, share),)
