"""Adapt predictions to test photos with a style or domain shift: remove their shared offset."""

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.model.inference import logs
from vlg_fastai.unseen.forecast import FEWEST


def adapt(cfg, answer, view):
    """The answer with labels adapted to the photos, where --adapt asks for it or the forecast
    predicts a gain; `closed_set` keeps the plain label.

    The change that adapting makes to the log probabilities of the frozen backbone's probe is added
    to the run's own: for a probe that is, up to its temperature, the adapted prediction itself. For
    a fine-tuned net, or several runs, it is a correction not covered by simulated tests.
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
        f" {len(features.asked)} labels change; expected accuracy {expected.plain.value:.2f} ->"
        f" {expected.adapted.value:.2f} (--adapt off keeps the plain labels)"
    )
    return changed


def change_of(adapted, plain):
    """The difference of log probabilities, floored so that a class which both rule out cannot win
    by being ruled out less."""
    return logs(np.exp(adapted)) - logs(np.exp(plain))


def _why_not(view):
    photos, expected = len(view.run_features.asked), view.forecast
    if expected is None or photos < FEWEST:
        return (
            f"not adapted: {photos} test photos, but estimating their shared offset takes at least"
            f" {FEWEST}"
        )
    return (
        f"not adapted: in similar simulated tests it changed the accuracy on known classes by"
        f" {expected.gain:+.3f} (--adapt on: adapt anyway)"
    )
