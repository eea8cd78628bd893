"""Test photos that are taken otherwise, as a whole: answers without what they have in common."""

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.unseen.forecast import FEWEST


def adapt(cfg, answer, view):
    """The answer with the labels of adapted photos, where --adapt asks for it or the forecast says
    that it gains; `closed_set` stays the plain label.

    What adapting changes in the log probabilities of the frozen backbone's probe is added to the
    run's own: for a probe that is the adapted answer itself, for a fine-tuned net a correction.
    """
    expected = view.forecast
    if expected is None or cfg.adapt == "off":
        return answer
    if not expected.is_adapted:
        say(_why_not(expected))
        return answer
    model, features = view.run_features.model, view.run_features
    change = model.adapted(features.moved) - model.plain(features.test.astype(np.float32))
    changed = answer.corrected(model.kinds, change)
    say(
        f"adapted to these photos: {(changed.adapted != changed.closed_set).sum()} of"
        f" {len(features.asked)} labels change; {expected.plain.value:.2f} ->"
        f" {expected.adapted.value:.2f} expected (--adapt off: leave them)"
    )
    return changed


def _why_not(expected):
    if expected.photos < FEWEST:
        return (
            f"not adapted: {expected.photos} test photos, and it takes {FEWEST} to see what they"
            " have in common"
        )
    return (
        f"not adapted: {expected.gain:+.3f} of the known classes is what it gained in such tests"
        " (--adapt on: do it all the same)"
    )
