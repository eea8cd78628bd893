"""MixUp and CutMix without waits: photos and targets are those of fastai."""

from types import SimpleNamespace

import pytest
import torch
from fastai.callback import mixup as theirs
from torch.nn import CrossEntropyLoss

from vlg_fastai.train import mixup as ours

PROBS = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def mixed(callback, y, seed):
    "(photos, targets, mean loss) of a batch after `callback` saw it, and the photos before."
    torch.manual_seed(seed)
    x = torch.randn(6, 3, 9, 14)
    loss, before = CrossEntropyLoss(), x.clone()
    loss.y_int = not y.is_floating_point()
    learn = SimpleNamespace(xb=(x,), yb=(y,), x=x, y=y, loss_func=loss, training=True)
    callback.learn = learn
    callback.before_train()
    callback.before_batch()
    return learn.xb[0], learn.yb[0], learn.loss_func(x.mean((2, 3)), *learn.yb), before


@pytest.mark.parametrize("y", [PROBS, LABELS], ids=["probabilities", "labels"])
@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_photos_targets_and_losses_are_those_of_fastai(name, y):
    changed = 0
    for seed in range(20):
        *mine, before = mixed(getattr(ours, name)(0.7), y, seed)
        *of_fastai, _ = mixed(getattr(theirs, name)(0.7), y, seed)
        torch.testing.assert_close(mine, of_fastai)
        changed += not torch.equal(mine[0], before)
    assert changed > 10
