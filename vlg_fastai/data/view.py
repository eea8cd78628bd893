"""How a photo becomes the input of a model: the same in training, prediction and reports."""

import math
from dataclasses import dataclass

from fastai.data.transforms import Normalize

from vlg_fastai.data.augment import Fit, resampling
from vlg_fastai.data.pixels import Pixels

FITS = "crop", "squish", "pad"


@dataclass(frozen=True)
class View:
    "How a photo becomes the model's input: stored with a run, the same in train and predict."

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    how: str = "crop"  # one of `FITS`: what becomes of a photo that is no square

    @classmethod
    def stored(cls, facts):
        "The View that a run's facts hold: equal to the one they were written from, tuples and all."
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
        return cls(**plain)  # else what the store keeps for the one is not found by the other

    def fit(self, min_scale=None):
        return Fit(self, min_scale)

    def pixels(self, photos=None, store=None, now=True, detail=1.0):
        """How its photos are read: from their files, or decoded once for the table `photos`.

        detail: how many times finer than this view needs.
        """
        share = self.crop_pct if self.how == "crop" else 1.0
        side = math.ceil(self.size / share * detail)
        return Pixels.of(photos, side, resampling(self.interpolation), store, now)

    def normalize(self):
        return Normalize.from_stats(self.mean, self.std)
