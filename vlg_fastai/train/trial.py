"""Run fits that only measure, and leave the Learner as it was."""

from contextlib import contextmanager

from vlg_fastai.machine import randomness


@contextmanager
def undone(learn):
    "Restore the weights, the optimizer, every random generator and the loader on exit."
    numbers, place = randomness.state(), learn.dls.train.kept(0)
    weights = {key: value.cpu().clone() for key, value in learn.model.state_dict().items()}
    try:
        with learn.no_logging():
            yield
    finally:
        learn.model.load_state_dict(weights)
        learn.model.zero_grad()
        learn.opt = None  # with its moments; the fit creates its own
        randomness.restore(numbers)
        learn.dls.train.go_on(place)
