"""Test photos that are taken differently as a whole: answers without what they have in common."""

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.model.inference import logs
from vlg_fastai.unseen.forecast import FEWEST


def adapt(cfg, answer, view):
    """The answer with the labels of adapted photos, where --adapt asks for it or the forecast says
    that it gains; `closed_set` stays the plain label.

    What adapting changes in the log probabilities of the frozen backbone's probe is added to the
    run's own: for a probe that is, but for its temperature, the adapted answer itself. For a
    fine-tuned net, or several runs, it is a correction that made-up tests have not tried.
    """
    expected = view.forecast
    if view.adapt == "off" or (expected is None and view.adapt == "auto"):
        return answer
    if expected is None or not expected.is_adapted:
        say(_why_not(view))
        return answer
    model, features = view.run_features.model, view.run_features
    plain = model.plain(features.test.astype(np.float32))
    change = change_of(model.adapted(features.moved), plain)
    changed = answer.corrected(model.kinds, change)
    say(
        f"adapted to these photos: {(changed.adapted != changed.closed_set).sum()} of"
        f" {len(features.asked)} labels change; {expected.plain.value:.2f} ->"
        f" {expected.adapted.value:.2f} expected (--adapt off: leave them)"
    )
    return changed


def change_of(adapted, plain):
    """The difference of log probabilities, none so low that a class which both rule out could win
    by being ruled out less."""
    return logs(np.exp(adapted)) - logs(np.exp(plain))


def _why_not(view):
    photos, expected = len(view.run_features.asked), view.forecast
    if expected is None or photos < FEWEST:
        return (
            f"not adapted: {photos} test photos, and it takes {FEWEST} to see what they have in"
            " common"
        )
    return (
        f"not adapted: in similar made-up tests that changed the accuracy on known classes by"
        f" {expected.gain:+.3f} (--adapt on: do it all the same)"
    )
