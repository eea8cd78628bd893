"""Handle what may end a fit early: a request to stop, and non-finite losses."""

import signal
import threading
import time
from contextlib import contextmanager

import torch
from fastai.callback.core import Callback, CancelBatchException, CancelFitException

from vlg_fastai.cli import PreemptedError
from vlg_fastai.console import say
from vlg_fastai.data.loaders import ASKING
from vlg_fastai.machine.ranks import ALONE, gone

GO_ON = "stopped; resume where it left off: train.py --resume {}"
BAD_IN_A_ROW = 5  # consecutive batches without a finite loss that end a fit
LOOK = 5.0  # seconds between two looks at what a GPU has counted


def heard(names, handler):
    "Install `handler` for those signals `names` that exist; return {signal: previous handler}."
    main = threading.current_thread() is threading.main_thread()
    wanted = [getattr(signal, name) for name in names if hasattr(signal, name)] if main else []
    return {number: signal.signal(number, handler) for number in wanted}


def unheard(before):
    "Restore the handlers `before` for their signals."
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def stoppable(run):
    """Exit with the code of a resumable run if SIGTERM or a closed terminal comes outside the fit,
    or if another process that trains the same net has ended: what was done is already saved."""

    def stop(signum, frame):
        raise PreemptedError(GO_ON.format(run.words))

    before = heard([name for name in ASKING if name != "SIGINT"], stop)
    try:
        yield
    except RuntimeError as error:
        if not (why := gone(error)):
            raise
        raise PreemptedError(
            f"another process has failed or cannot be reached ({why}): {GO_ON.format(run.words)}"
        ) from None
    finally:
        unheard(before)


class StopCleanly(Callback):
    """End the fit after this batch on the first Ctrl-C, SIGTERM or closed terminal; a second Ctrl-C
    ends the program. `over`: one of them came; `preempted`: it was not Ctrl-C."""

    order = 66  # after Checkpointer (65)
    over, preempted = False, False
    before = {}  # signal -> its handler outside the fit

    def before_fit(self):
        self.before = heard(ASKING, self._ask)

    def _ask(self, signum, frame):
        self.over, self.preempted = True, self.preempted or signum != signal.SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        again = "" if self.preempted else "; Ctrl-C again stops at once"
        say(f"stopping after this batch{again}")

    def after_batch(self):
        if self.over and self.training:
            raise CancelFitException("interrupted")

    def after_epoch(self):
        if self.over:  # it came during validation: the epoch is kept
            raise CancelFitException("interrupted")

    def after_fit(self):
        unheard(self.before)


class StopTogether(StopCleanly):
    """The same for several processes: a signal to any of them ends the fits of all after the same
    batch, since `agree` is called by all at once."""

    asked = 0  # 1: Ctrl-C came, 2: another signal

    def _ask(self, signum, frame):
        self.asked = max(self.asked, 1 + (signum != signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def agree(self, ranks):
        asked = ranks.most(self.asked)
        if asked and not self.over:
            say("stopping after this batch")
        self.over, self.preempted = asked > 0, asked > 1


class SkipBadBatches(Callback):
    """Skip a batch with a non-finite loss before it reaches a weight; end the fit after
    `BAD_IN_A_ROW` of them: nothing can come of non-finite weights.

    ranks: processes that skip a batch together, since each waits for the gradients of the others.
    """

    order = 11  # after mixed precision (10) has left its context
    ranks = ALONE
    over, skipped, in_a_row, told = False, 0, 0, torch.zeros(())
    kept = ("skipped", "in_a_row", "told")

    def after_loss(self):
        if not self.training:
            return
        if not self.ranks.anywhere(~torch.isfinite(self.loss.detach())):
            self.in_a_row, self.told = 0, self.loss.detach()
            return
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        self.learn.loss = self.told  # else the smoothed loss is never finite again
        self.over = self.in_a_row >= BAD_IN_A_ROW
        raise CancelFitException("the loss is not finite") if self.over else CancelBatchException


class SkipOnDevice(SkipBadBatches):
    """The same on a GPU that nobody waits for: it counts by itself, and the kernel of the fused
    optimizer skips the step. The counts are read every `LOOK` seconds and at the end of an epoch.

    With gradient accumulation, a bad batch costs its whole step.
    """

    kept, near = ("counts", "told"), True
    counts = None

    def before_fit(self):
        if self.counts is None:  # skipped, in a row, most in a row
            self.counts = torch.zeros(3, dtype=torch.int64, device=self.dls.device)
            self.told = torch.zeros((), device=self.dls.device)
        self.bad, self.looked = torch.zeros((), device=self.dls.device), time.monotonic()

    def after_loss(self):
        if not self.training:
            return
        loss = self.loss.detach().as_subclass(torch.Tensor)
        bad = self.ranks.anywhere(~torch.isfinite(loss))
        self.learn.loss = self.told = torch.where(bad, self.told, loss)
        skipped, in_a_row, most = self.counts
        in_a_row = (in_a_row + 1) * bad
        self.counts = torch.stack([skipped + bad, in_a_row, torch.maximum(most, in_a_row)])
        self.bad = torch.maximum(self.bad, bad.float())

    def before_step(self):
        inner = self.opt.opt
        found = getattr(inner, "found_inf", None)
        inner.found_inf = self.bad if found is None else torch.maximum(found, self.bad)

    def after_step(self):
        self.opt.opt.found_inf, self.bad = None, torch.zeros_like(self.bad)

    def after_batch(self):
        if self.training and self.ranks.most(time.monotonic() - self.looked > LOOK):
            self._look()

    def after_train(self):
        self._look()

    def after_fit(self):
        self.skipped = int(self.counts[0])

    def _look(self):
        self.looked = time.monotonic()
        self.skipped, _, most = self.counts.tolist()
        self.over = most >= BAD_IN_A_ROW
        if self.over:
            raise CancelFitException("the loss is not finite")


SKIPS = {"cuda": SkipOnDevice}  # type of a device -> how it skips bad batches there
