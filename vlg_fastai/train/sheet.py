"""Draw a sheet of a Learner's training photos as the net sees them: cropped and augmented."""

import numpy as np
import torch
from PIL import Image

from vlg_fastai.runs.files import replacing
from vlg_fastai.train.trial import undone

SHOWN, ACROSS, SIDE, GAP = 24, 6, 160, 4  # photos, per row, pixels of one, and between two
NAME = "batch.jpg"


def write(learn, view, run):
    "Write the first photos of a training batch of `learn`; leave all random generators unchanged."
    with undone(learn):
        x = learn.dls.train.one_batch()[0][:SHOWN]
    path = run.reports / NAME
    with replacing(path) as beside:
        grid(pictures(x, view)).save(beside, format="JPEG", quality=90)
    return path


def pictures(x, view):
    "The batch `x` (n, 3, h, w) as [Image], its normalisation undone."
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (view.mean, view.std))
    shown = (x.as_subclass(torch.Tensor).float() * std + mean).clamp(0, 1) * 255
    return [
        Image.fromarray(one) for one in shown.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    ]


def grid(pictures):
    "One image of all `pictures`, `ACROSS` per row."
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    sheet = Image.new("RGB", (across * (SIDE + GAP) - GAP, down * (SIDE + GAP) - GAP), "white")
    for i, one in enumerate(pictures):
        place = i % across * (SIDE + GAP), i // across * (SIDE + GAP)
        sheet.paste(one.resize((SIDE, SIDE)), place)
    return sheet
