"""Several nets as one model: the mean of their calibrated probabilities."""

import torch
from torch import nn


class Blend(nn.Module):
    """Map photos to the log of the weighted mean of the `members`' probabilities: logits again.

    shares: one weight per member, summing to 1; temperatures: what each is calibrated by first.
    """

    def __init__(self, members, shares, temperatures):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shares, self.temperatures = tuple(shares), tuple(temperatures)

    def forward(self, x):
        return self.mixed([member(x) for member in self.members])

    def mixed(self, logits):
        "Logits (n, classes) of the blend from those of its members."
        told = zip(logits, self.shares, self.temperatures, strict=True)
        logs = [(z.float() / t).log_softmax(1) + torch.tensor(share).log() for z, share, t in told]
        return torch.stack(logs).logsumexp(0)


def explained(model):
    "The [Backbone, head] to draw Grad-CAM of: `model` itself, or the last member of a blend."
    return model.members[-1] if isinstance(model, Blend) else model
