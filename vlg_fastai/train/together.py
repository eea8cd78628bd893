"""Keep the fits of several processes in step: one net, one order of photos, one end."""

from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from vlg_fastai.config import UserError
from vlg_fastai.data.order import MOST, STEP
from vlg_fastai.machine.ranks import wire


class Parallel(Callback):
    """Pass training batches through torch's DistributedDataParallel, which averages the gradients
    of all processes. All other callbacks see the bare net: it is wrapped for the forward pass only.
    """

    order, run_valid = 1001, False  # after GoOn (1000) has restored the weights

    def __init__(self, ranks):
        self.ranks = ranks

    def before_fit(self):  # of each phase: a frozen body has no gradients to wait for
        group = wire(self.dls.device.type)
        self.wrapped = DistributedDataParallel(self.model, process_group=group)
        self.wrapped.broadcast_buffers = False  # an option of another name since torch 2.14

    def before_batch(self):
        self.learn.model = self.wrapped

    def after_pred(self):
        self.learn.model = self.wrapped.module

    def after_fit(self):
        self.wrapped = None


class InStep(Callback):
    """Let all processes read one order of photos, judge an epoch by the photos of all, and stop
    together.

    In training, BatchNorm normalises with the photos of its own process. Its running statistics are
    averaged before each validation.
    """

    order = 50.5  # after Recorder (50), before History (51) and what else decides by its figures

    def __init__(self, ranks, stop, seed):
        self.ranks, self.stop, self.seed = ranks, stop, seed

    def before_fit(self):
        self.dls.train.told = True

    def before_train(self):
        if not self.ranks.first:  # dropout and augmentation of its own; the first is left alone
            set_seed((self.seed + STEP * self.ranks.number + self.epoch) % MOST)

    def after_batch(self):
        if self.training:
            self.stop.agree(self.ranks)

    def before_validate(self):
        for module in self.model.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                self.ranks.level([module.running_mean, module.running_var])

    def after_epoch(self):
        self.stop.agree(self.ranks)
        found = [*self.recorder._train_mets, *self.recorder._valid_mets]
        for one in found:
            one.gather(self.ranks)
        row = [one.value for one in found] if self.ranks.first else []
        row = [value if value is None else float(value) for value in row]
        self.recorder.values[-1][:] = self.ranks.told(row)

    def after_fit(self):
        self.dls.train.told = False


def in_step(ranks, stop, seed):
    "The callbacks of a fit that several processes share; none for a process alone."
    return [InStep(ranks, stop, seed), Parallel(ranks)] if ranks.count > 1 else []


def check_alone(plan, ranks):
    "UserError if several processes resume a run that gathers the gradients of several batches."
    if plan.steps > 1 and ranks.count > 1:
        raise UserError(
            f"--resume: for lack of memory the run takes {plan.steps} batches per step, as a single"
            " process does; resume it with python"
        )


def check_memory(machine, bs):
    "UserError after memory ran out in one of several processes: the others are a batch ahead."
    ranks = machine.ranks
    if ranks.count > 1:
        raise UserError(
            f"--bs {bs}: rank {ranks.number} of {ranks.count} ran out of memory on"
            f" {machine.device}; start a new run with a lower --bs or --size"
        )
