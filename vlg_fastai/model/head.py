"""Features in, logits out: the heads that `--head` names, and the whole model with one."""

import torch
from torch import nn

from vlg_fastai.model.backbone import Backbone, explained

HIDDEN = 512


class Head(nn.Sequential):
    "Layers that compute in fp32 at any precision: bf16 would round a logit of 12 to steps of .06."

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class DroppedLinear(nn.Linear):
    "A linear layer that drops the share `p` of what it sees in training; its weights are as named."

    def __init__(self, width, classes, p):
        super().__init__(width, classes)
        self.p = p

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, self.p, self.training))


def mlp(width, classes, dropout=None):
    "The original's custom head."
    p = 0.5 if dropout is None else dropout
    return Head(
        nn.Dropout(p / 2),
        nn.Linear(width, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(HIDDEN, classes),
    )


def linear(width, classes, dropout=None):
    return Head(DroppedLinear(width, classes, dropout or 0.0))


HEADS = {"mlp": mlp, "linear": linear}


def assemble(net, head, classes, source, size, dropout=None):
    """The whole model: backbone, then head. fastai's splitter takes them as two groups.

    UserError where the backbone has no use for photos of `size` pixels, before any is read.
    """
    body = Backbone(net)
    with explained(source, size), torch.no_grad():
        body.eval()(torch.zeros(1, 3, size, size))
    return nn.Sequential(body, HEADS[head](body.width, classes, dropout))
