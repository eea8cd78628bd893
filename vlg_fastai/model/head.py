"""Build the heads that `--head` names, features in and logits out, and whole models with them."""

import torch
from torch import nn

from vlg_fastai.model.backbone import Backbone, explained

HIDDEN = 512


class Head(nn.Sequential):
    "Layers that compute in fp32 at any precision: bf16 rounds a logit of 12 to steps of 0.06."

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class DroppedLinear(nn.Linear):
    "A linear layer that drops a share `p` of its inputs in training; weight names are unchanged."

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
    """The whole model: backbone, then head. fastai's splitter treats them as two groups.

    UserError if the backbone cannot take photos of `size` pixels, before any is read.
    """
    body = Backbone(net)
    with explained(source, size), torch.no_grad():
        body.eval()(torch.zeros(1, 3, size, size))
    return nn.Sequential(body, HEADS[head](body.width, classes, dropout))
