"""Features of photos that a probe only ever learns from, beside those that it is judged on."""

from dataclasses import dataclass, replace

import numpy as np

from vlg_fastai.data.extra import NEVER, OF_NONE


@dataclass(frozen=True)
class More:
    """Features x (m, d) and classes y (m,) of extra photos; kin (m,): the near-duplicate group of
    the labelled photo that each was made from; weight (m,): what each counts, a labelled photo 1.
    bias (classes,): what is added to the logits of all photos."""

    x: np.ndarray
    y: np.ndarray
    kin: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None = None

    def __len__(self):
        return len(self.y)

    @property
    def arrays(self):
        "All that it consists of."
        bias = [] if self.bias is None else [self.bias]
        return [self.x.astype(np.float16), self.y, self.kin, self.weight, *bias]

    def among(self, rows):
        "With the extra photos `rows` only."
        parts = {name: getattr(self, name)[rows] for name in ("x", "y", "kin", "weight")}
        return replace(self, **parts)

    def apart(self, groups):
        "Those made from none of the photos in `groups`, for models that these judge."
        made = ~np.isin(self.kin, groups) & (self.kin != NEVER)
        return self.among((self.kin == OF_NONE) | made)

    def beside(self, x, y):
        "(features, labels, weights) of labelled photos `x` (n, d), `y` (n,) and of these."
        weights = np.concatenate([np.ones(len(y)), self.weight])
        return np.concatenate([x, self.x]), np.concatenate([y, self.y]), weights
