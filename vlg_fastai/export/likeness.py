"""Compute what a single photo's likeness to the known classes is judged by."""

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.preprocessing import normalize

from vlg_fastai.data import folder, listing
from vlg_fastai.model.backbone import Backbone
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.unseen.likeness import Likeness

FEWEST = 20  # held-out photos to compare with, and training photos per statistic of the features
STEPS = 1000  # quantiles kept
UNLIKE = 0.05  # share of held-out photos below which a photo looks like no known class


class LackingError(Exception):
    "There is nothing to compute likeness from; the message says why."


def statistics(cfg, run, body, view, means):
    """{name: array} for likeness.npz: class means and whitening of the training side's features by
    the backbone `body`, and quantiles of how alike held-out photos are.

    LackingError where photos are missing or too few.
    """
    photos = listing.of_run(run, folder.of_run(cfg, run))
    photos = photos[photos["split"] != "unused"].reset_index(drop=True)
    extractor = FeatureExtractor(body.net, view, *means)
    pixels = view.pixels(photos, means[1], now=False)
    seen = extractor.look(photos, pixels)
    photos = photos[seen]
    held = (photos["split"] == "valid").to_numpy()
    if held.sum() < FEWEST or (~held).sum() < FEWEST:
        raise LackingError(f"{held.sum()} held-out and {(~held).sum()} training photos are at hand")
    x = normalize(extractor.features(photos, pixels).astype(np.float32))
    likeness = Likeness.fit(x[~held], photos["label"].to_numpy()[~held])
    return packed(likeness, likeness(x[held]))


def packed(likeness, held):
    "The arrays of a `Likeness`, whitening matrices as packed triangles, beside those `held` out."
    unit = np.eye(len(likeness.middle))
    below = np.tril_indices(len(unit))
    white = {
        name: solve_triangular(getattr(likeness, name), unit, lower=True)[below]
        for name in ("within", "total")
    }
    quantiles = np.quantile(held, np.linspace(0, 1, min(STEPS, len(held))))
    told = {"means": likeness.means, "middle": likeness.middle, "quantiles": quantiles, **white}
    return {name: np.asarray(array, np.float32) for name, array in told.items()}


def backbone_of(module):
    "The backbone whose features the exported graph gives."
    while not hasattr(module, "body"):
        module = module.members[0]
    body = module.body
    return body if isinstance(body, Backbone) else None
