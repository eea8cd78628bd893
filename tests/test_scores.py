"""Calibration and scores against values computed by hand or by a library."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from vlg_fastai.model.inference import fit_temperature, nll, probabilities
from vlg_fastai.model.intervals import interval
from vlg_fastai.model.scores import ece, nll_of, summary


def sample(scale, n=4000, seed=0):
    "Logits of a perfectly calibrated model, multiplied by `scale`, and labels sampled from it."
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, 5))
    y = np.array([rng.choice(5, p=p) for p in probabilities(z, 1.0)])
    return z * scale, y


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_the_scale_of_the_logits(scale):
    assert fit_temperature(*sample(scale)) == pytest.approx(scale, rel=0.08)


def test_calibration_brings_the_error_down():
    z, y = sample(0.3)
    before, after = probabilities(z, 1.0), probabilities(z, fit_temperature(z, y))
    assert ece(before, y) > 0.2
    assert ece(after, y) < 0.03


def test_the_nll_is_sklearns():
    z, y = sample(1.0, 100)
    probs = probabilities(z, 2.0)
    expected = log_loss(y, probs, labels=range(5))
    assert nll(z, y, 2.0) == pytest.approx(expected)
    assert nll_of(probs, y) == pytest.approx(expected)


def test_the_calibration_error_of_a_known_case():
    probs = np.array([[0.9, 0.1]] * 10)
    assert ece(probs, np.array([0] * 6 + [1] * 4)) == pytest.approx(0.3)
    assert ece(np.array([[1.0, 0.0]] * 4), np.zeros(4, int)) == 0


def test_the_temperature_of_nothing_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_a_class_without_photos_stays_out_of_the_averages():
    probs = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    figures = summary(probs, probs, np.array([0, 1, 1]), ["a", "b", "c"])
    assert figures["recall"] == {"a": 1.0, "b": 0.5, "c": None}
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx(2 / 3)


def test_without_photos_every_figure_is_blank():
    figures = summary(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int), ["a", "b"])
    assert figures["accuracy"] is None
    assert figures["recall"] == {"a": None, "b": None}


def test_an_interval_counts_copies_once_and_knows_no_certainty():
    right = np.ones(3, bool)
    low, high = interval(right)
    assert (low, high) == pytest.approx((0.4385, 1.0), abs=1e-3)
    copied = np.repeat([1, 1, 0, 1, 0, 1, 1, 1], 4)
    alone, together = interval(copied), interval(copied, np.repeat(np.arange(8), 4))
    assert together == pytest.approx(interval(copied[::4]), abs=1e-6)
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
    assert interval(np.zeros(0)) is None
