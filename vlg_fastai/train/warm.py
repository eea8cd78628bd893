"""Cached features in, a fitted head out: where fine-tuning starts, in seconds."""

import numpy as np
import torch
from fastai.losses import LabelSmoothingCrossEntropy

from vlg_fastai.console import track

EPOCHS, BS, LR = 20, 64, 2e-3  # passes over the features of the photos and of their mirror images


def fit_head(head, views, y, weights, cfg, device):
    """Fit `head` in place on `views`, features (photos, d) of each way the photos are shown.

    y: (photos,) labels; weights: (photos,) how often each is drawn. One cycle of AdamW with the
    loss of the fine-tuning to come; a head that knows nothing would send noise into the backbone.
    """
    x = torch.as_tensor(np.concatenate(views), device=device)
    y = torch.as_tensor(np.tile(y, len(views)), device=device)
    drawn = torch.as_tensor(np.tile(weights, len(views)), dtype=torch.float64)
    bs = min(BS, len(x))
    steps = EPOCHS * (len(x) // bs)
    loss_of = LabelSmoothingCrossEntropy(cfg.label_smoothing)
    opt = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=cfg.wd)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, LR, total_steps=steps)
    head.train()
    for _ in track(range(steps), "warm start", steps):
        batch = torch.multinomial(drawn, bs).to(device)
        loss = loss_of(head(x[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
    return head.eval()
