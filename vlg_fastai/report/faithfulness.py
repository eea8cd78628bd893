"""Measure on held-out photos whether Grad-CAM points at what the model uses."""

import numpy as np
import pandas as pd
import torch
from scipy.stats import bootstrap
from torch.nn.functional import adaptive_avg_pool2d, interpolate
from torchvision.transforms.functional import gaussian_blur

from vlg_fastai.config import UserError
from vlg_fastai.console import show, track
from vlg_fastai.data import loaders
from vlg_fastai.data.images import readable
from vlg_fastai.report.gradcam import maps
from vlg_fastai.runs.files import write_csv

MOST = 50  # photos by default
CELLS = 7  # the photo is hidden and shown in 7 x 7 cells
AT_ONCE = 7  # cells per step: eight steps from the whole photo to its blurred copy


def write(inputs, count):
    """Write faithfulness.csv: deletion and insertion of Grad-CAM against random and centre maps.

    Deletion hides the cells that a map ranks first behind a blur, insertion shows them first;
    the area under the probability of the predicted class should be small for deletion and large
    for insertion (Petsiuk et al., 2018). The measure sees only the order of the cells and makes
    photos no model was trained on (arXiv 2201.13291): it is a check, not a ranking of methods.
    """
    rng, explainer = np.random.default_rng(0), inputs.explainer
    chosen = rng.permutation(len(inputs.held.files))[:count]
    paths = [
        path for path in (inputs.photo(f) for f in inputs.held.files[chosen]) if readable(path)
    ]
    if not paths:
        raise UserError(f"--faithfulness: found no photo of the run in {inputs.data}; set --data")
    dl = loaders.plain(paths, explainer.spec.view, 1, explainer.machine)
    rows = [areas(explainer, x, rng) for x, _ in track(dl, "checking maps", len(dl))]
    table = pd.DataFrame(rows)
    write_csv(inputs.folder / "faithfulness.csv", table)
    columns = ["", "gradcam", "random", "centre", "less random", "less centre"]
    show(f"faithfulness on {len(table)} photos, 95 % intervals", columns, summary(table))
    return [inputs.folder / "faithfulness.csv"]


def areas(explainer, x, rng):
    "Deletion and insertion areas of one photo `x` (1, 3, s, s) for each kind of map."
    with torch.no_grad():
        best = explainer.model(x).argmax(1)
    raw, _ = maps(explainer.model, x, best[None])
    rankings = {
        "gradcam": adaptive_avg_pool2d(raw[0].clamp(min=0)[None], CELLS).flatten().cpu().numpy(),
        "random": rng.random(CELLS**2),
        "centre": centre(),
    }
    found = {}
    for name, values in rankings.items():
        order = np.argsort(-values, kind="stable")
        found[f"deletion_{name}"] = area(explainer, x, best, order, hide=True)
        found[f"insertion_{name}"] = area(explainer, x, best, order, hide=False)
    return found


def centre():
    "A map that is highest in the middle, where photographers place the subject."
    y, x = np.mgrid[:CELLS, :CELLS] - CELLS // 2
    return -np.hypot(x, y).ravel()


def area(explainer, x, target, order, hide):
    "Mean probability of `target` while cells are hidden, or shown, step by step in `order`."
    blurred = gaussian_blur(x, kernel_size=x.shape[-1] // 4 * 2 + 1, sigma=x.shape[-1] / 14)
    steps = range(0, CELLS**2 + 1, AT_ONCE)
    masks = torch.zeros(len(steps), CELLS**2)
    for row, done in enumerate(steps):
        masks[row, order[:done].copy()] = 1
    masks = masks.reshape(-1, 1, CELLS, CELLS).to(x.device)
    masks = interpolate(masks, x.shape[-2:], mode="nearest")
    shown = 1 - masks if hide else masks
    with torch.no_grad():
        z = explainer.model(x * shown + blurred * (1 - shown))
    return torch.softmax(z / explainer.spec.temperature, 1)[:, target].mean().item()


def summary(table):
    "Rows of means, and paired differences with bootstrap intervals."
    rows = []
    for measure, better in (("deletion", "low is good"), ("insertion", "high is good")):
        kinds = {kind: table[f"{measure}_{kind}"] for kind in ("gradcam", "random", "centre")}
        differences = [interval(kinds["gradcam"] - kinds[other]) for other in ("random", "centre")]
        means = [f"{values.mean():.3f}" for values in kinds.values()]
        rows.append([f"{measure} ({better})", *means, *differences])
    return rows


def interval(difference):
    "Mean and 95 % bootstrap interval as text."
    if len(difference) < 2:
        return f"{difference.mean():+.3f}"
    found = bootstrap((difference.to_numpy(),), np.mean, method="basic", rng=0).confidence_interval
    return f"{difference.mean():+.3f} ({found.low:+.2f} {found.high:+.2f})"
