"""The optimizer takes fastai's steps, in a few operations instead of thousands."""

import pytest
import timm
import torch
from fastai.callback import schedule  # noqa: F401, gives a Learner `fit_one_cycle`
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.losses import LabelSmoothingCrossEntropy
from fastai.optimizer import Adam
from torch.utils._python_dispatch import TorchDispatchMode

from vlg_fastai.train import optimizer
from vlg_fastai.train.checkpoint import packed, unpacked
from vlg_fastai.train.optimizer import FusedAdamW

STEPS = 6


class Net(torch.nn.Sequential):
    "A toy net of convolutions (depthwise and 1 x 1 among them), norms and biases, and a head."

    def __init__(self):
        body = timm.create_model("test_efficientnet", num_classes=0)
        super().__init__(body, torch.nn.Linear(body.num_features, 5))


def learner(opt_func, **options):
    "A Learner on noise, the same at every call; in fp64, since training amplifies rounding."
    torch.manual_seed(0)
    photos = (torch.randn(4, 3, 32, 32, dtype=torch.float64) for _ in range(4))
    batches = [(x, torch.randint(5, (4,))) for x in photos]
    dls = DataLoaders(batches, batches[:1], device="cpu")
    net = Net().double().to(memory_format=torch.channels_last)
    parts = {"splitter": lambda m: [list(m[0].parameters()), list(m[1].parameters())]}
    loss = LabelSmoothingCrossEntropy(0.2)
    made = Learner(dls, net, loss, opt_func=opt_func, **parts, **options)
    return made.remove_cbs([ProgressCallback, Recorder])


def fitted(opt_func, epochs=STEPS, freeze=0, **options):
    learn = learner(opt_func, **options)
    if freeze:
        learn.freeze()
        learn.fit_one_cycle(freeze, 1e-2)
        learn.unfreeze()
    learn.fit_one_cycle(epochs, [1e-3, 1e-2])
    return learn


def weights(learn):
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()])


@pytest.fixture(params=["fused", "foreach"])
def kind(request, monkeypatch):
    if request.param == "foreach":
        monkeypatch.setattr(optimizer, "FUSED", set())
    return request.param


@pytest.mark.parametrize(
    "options", [{"wd": 0.3}, {"wd": 0.3, "wd_bn_bias": True}, {"wd": 0.1, "freeze": 2}]
)
def test_its_steps_are_those_of_fastais_adam_within_rounding(kind, options):
    ours, plain = (fitted(opt, **options) for opt in (FusedAdamW, Adam))
    assert ours.opt.opt.defaults[kind] is True
    moved = (weights(plain) - weights(learner(Adam))).abs().max()
    assert moved > 0.02
    assert (weights(ours) - weights(plain)).abs().max() < 1e-9 * moved
    for mine, theirs in zip(ours.opt.hypers, plain.opt.hypers, strict=True):
        assert mine == pytest.approx({key: theirs[key] for key in mine})


def test_norms_and_biases_are_not_decayed(kind):
    learn = learner(FusedAdamW, wd=0.5)
    learn.create_opt()
    learn.opt.set_hypers(wd=0.5, lr=0.1)
    before = {name: p.detach().clone() for name, p in learn.model.named_parameters()}
    for p in learn.model.parameters():
        p.grad = torch.zeros_like(p)
    learn.opt.step()
    for name, p in learn.model.named_parameters():
        shrunk = 1 - 0.1 * 0.5 if p.ndim > 1 else 1.0
        torch.testing.assert_close(p.detach(), before[name] * shrunk, msg=name)


class Count(TorchDispatchMode):
    "Counts the operations that torch dispatches to a device."

    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += function.namespace == "aten"
        return function(*args, **(kwargs or {}))


def operations(opt_func):
    "How many a step of the optimizer and clearing the gradients take."
    learn = fitted(opt_func, epochs=1)
    for p in learn.model.parameters():
        p.grad = torch.ones_like(p)
    with Count() as count:
        learn.opt.step()
        learn.opt.zero_grad()
    return count.operations


def test_a_step_takes_a_handful_of_operations_instead_of_13_a_tensor():
    tensors = len(list(Net().parameters()))
    assert operations(Adam) > 13 * tensors
    assert operations(FusedAdamW) <= 8  # two for each of the two halves of the two groups


def test_it_goes_on_where_its_checkpoint_was_taken(kind):
    whole = fitted(FusedAdamW, wd=0.3)
    tensors = {}
    named = dict(whole.model.named_parameters())
    told = packed(whole.opt.kept(named), tensors)
    again = learner(FusedAdamW, wd=0.3)
    again.model.load_state_dict(whole.model.state_dict())
    again.create_opt()
    again.opt.go_on(unpacked(told, tensors), dict(again.model.named_parameters()))
    for learn in (whole, again):
        for p in learn.model.parameters():
            p.grad = torch.full_like(p, 0.1)
        learn.opt.step()
    assert torch.equal(weights(whole), weights(again))
    assert again.opt.hypers == whole.opt.hypers


def test_a_step_that_is_marked_as_overflown_changes_nothing():
    learn = fitted(FusedAdamW, epochs=1)
    before = weights(learn)
    for p in learn.model.parameters():
        p.grad = torch.full_like(p, torch.nan)
    learn.opt.opt.found_inf = torch.ones(())
    learn.opt.step()
    assert torch.equal(weights(learn), before)
