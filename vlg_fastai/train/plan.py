"""What a fit settles before its first batch, and another start of it must not settle anew."""

import dataclasses
from dataclasses import dataclass

from vlg_fastai.train.learner import peak_rates

FROZEN, WHOLE = range(2)  # phases of a fit: the head alone, then all of the net


@dataclass(frozen=True)
class Plan:
    "Peak rates, photos at a time and batches a step as memory allows, and the phase that is on."

    bs: int
    steps: int = 1
    lr: float | None = None
    lr_body: float | None = None
    phase: int = FROZEN

    @classmethod
    def of(cls, bs, kept):
        "That of the checkpoint `kept`, if there is one."
        return cls(**kept["plan"]) if kept else cls(bs)

    def with_rates(self, learn, cfg, *given):
        "With the rates that the options ask for, or the finder finds with what it is `given`."
        if self.lr is not None:
            return self
        lr_body, lr = peak_rates(learn, cfg, *given)
        return dataclasses.replace(self, lr=lr, lr_body=lr_body)

    def at(self, phase):
        return dataclasses.replace(self, phase=phase)

    def halved(self):
        "Where memory ran out: half the photos at a time, twice the batches a step, from the start."
        return Plan(self.bs // 2, 2 * self.steps, self.lr, self.lr_body)

    def facts(self):
        return dataclasses.asdict(self)
