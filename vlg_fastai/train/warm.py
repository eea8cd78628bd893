"""Fit a head on cached features of the training side: where fine-tuning starts."""

import numpy as np
import torch
from fastai.losses import LabelSmoothingCrossEntropy

from vlg_fastai.console import track
from vlg_fastai.data.shares import draws
from vlg_fastai.model import probe

EPOCHS, BS, LR = 20, 64, 2e-3  # passes over the features of the photos and of their mirror images


def start_linear(head, prepared):
    """Give the linear `head` the weights of a probe of the training side, with C tuned out of fold.

    LP-FT (Kumar et al., 2022): a head that is right from the start spares the backbone its noise.
    """
    x, y, fold = prepared.training_side
    fitted = probe.fit(x, y, fold.strength, len(prepared.spec.classes), prepared.more)
    head.load_state_dict(fitted.state_dict())
    head.eval()


def start_mlp(head, prepared):
    "Fit `head` as fine-tuning will: on features of photos and mirror images, with the same loss."
    cfg, table = prepared.cfg, prepared.taught
    taught, weights = table["split"] == "train", draws(table, cfg)
    shown = table[taught]
    views = [prepared.extractor.features(shown, prepared.pixels, flip) for flip in (False, True)]
    y = prepared.spec.places(shown["label"])
    fit_head(head, views, y, weights[taught.to_numpy()], cfg, prepared.machine.device)


STARTS = {"linear": start_linear, "mlp": start_mlp}  # head -> what fits it in place


def fit_head(head, views, y, weights, cfg, device):
    """Fit `head` in place on `views`, features (photos, d) of each way the photos are shown.

    y: (photos,) labels; weights: (photos,) how often each is sampled. One cycle of AdamW with the
    loss of the later fine-tuning; an untrained head would send noise into the backbone.
    """
    x = torch.as_tensor(np.concatenate(views), device=device)
    y = torch.as_tensor(np.tile(y, len(views)), device=device)
    drawn = torch.as_tensor(np.tile(weights, len(views)), dtype=torch.float64)
    bs = min(BS, len(x))
    batches = len(x) // bs
    steps = EPOCHS * batches
    loss_of = LabelSmoothingCrossEntropy(cfg.label_smoothing)
    opt = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=cfg.wd)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, LR, total_steps=steps)
    head.train()
    for step in track(range(steps), "warm start", steps):
        if step % batches == 0:  # for all rows at once: 100,000 photos took 400 s batch by batch
            rows = torch.multinomial(drawn, batches * bs, replacement=True).to(device)
        batch = rows[bs * (step % batches) :][:bs]
        loss = loss_of(head(x[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
    return head.eval()
