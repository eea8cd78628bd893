"""What a fit fixes before its first batch, and a resumed fit must not change."""

import dataclasses
from dataclasses import dataclass

from vlg_fastai.train.learner import peak_rates

FROZEN, WHOLE = range(2)  # phases of a fit: the head alone, then all of the net


@dataclass(frozen=True)
class Plan:
    "Peak rates, photos at a time and batches per step as memory allows, and the current phase."

    bs: int
    steps: int = 1
    lr: float | None = None
    lr_body: float | None = None
    phase: int = FROZEN

    @classmethod
    def of(cls, bs, kept):
        "The plan of the checkpoint `kept`, if there is one, else a new one."
        return cls(**kept["plan"]) if kept else cls(bs)

    def with_rates(self, learn, cfg, *given):
        "The plan with the rates from the options, or from the finder, which gets `given`."
        if self.lr is not None:
            return self
        lr_body, lr = peak_rates(learn, cfg, *given)
        return dataclasses.replace(self, lr=lr, lr_body=lr_body)

    def at(self, phase):
        return dataclasses.replace(self, phase=phase)

    def halved(self):
        "After running out of memory: half the photos, twice the batches per step, from the start."
        return Plan(self.bs // 2, 2 * self.steps, self.lr, self.lr_body)

    def facts(self):
        return dataclasses.asdict(self)
