"""Theorem 11: losses that choose layers are charged to the training's own epsilon."""

import math
from dataclasses import replace

import pytest

pytest.importorskip("dp_accounting", reason="needs the extra dp")
pytest.importorskip("opacus", reason="needs the extra dp")

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from del_audit.accounting import dp_sgd, layer_selection
from del_audit.accounting.dp_sgd import render, training_guarantee
from del_audit.accounting.layer_selection import charged_selection
from del_audit.accounting.other_mechanisms import DpSgd
from mechanisms.errors import UserError

DELTA = 1e-5
SELECTION = DpSgd(0.7, 0.04, 4)


def spent(*runs, accountant=PLDAccountant, delta=DELTA):
    """Returns the epsilon of all runs by dp-accounting's own accountant, which shares no code with the composition."""
    account = accountant()
    for run in runs:
        step = PoissonSampledDpEvent(run.sample_rate, GaussianDpEvent(run.noise_multiplier))
        account.compose(SelfComposedDpEvent(step, run.steps))
    return account.get_epsilon(delta)


@pytest.fixture(scope="module")
def training():
    return training_guarantee(0.8, 0.04, 25)


@pytest.fixture(scope="module")
def charged(training):
    return charged_selection(training, 0.04, 4, training.epsilon.upper * 1.03)


def test_training_and_selection_are_composed(training):
    found = training_guarantee(0.8, 0.04, 25, selection=SELECTION)
    truth = spent(found.run, SELECTION)
    assert truth == pytest.approx(found.epsilon.upper, rel=0.01)
    assert found.epsilon.lower <= truth * (1 + 1e-9)
    assert training.epsilon.upper < found.epsilon.lower  # what the selection costs is seen
    assert found.epsilon.upper < spent(found.run, SELECTION, accountant=RdpAccountant)
    assert found.to_dict()["selection"] == {"noise_multiplier": 0.7, "sample_rate": 0.04, "steps": 4}
    assert "selection" not in training.to_dict()
    assert "releases=4, in the same epsilon" in render(found)
    assert "Selection" not in render(training)


@pytest.mark.slow
def test_the_published_setting_with_a_selection_of_each_second_epoch():
    """TensorFlow Privacy's tutorial: 60,000 images, batches of 256, noise 1.1, 60 epochs: 3.01 by Renyi accounting."""
    run, selection = DpSgd(1.1, 256 / 60_000, 60 * 60_000 // 256), DpSgd(0.5, 16 / 60_000, 30)
    account = RdpAccountant()
    step = PoissonSampledDpEvent(run.sample_rate, GaussianDpEvent(run.noise_multiplier))
    account.compose(SelfComposedDpEvent(step, run.steps))
    assert min(account._rdp + math.log(1 / DELTA) / (account._orders - 1)) == pytest.approx(3.01, abs=0.005)
    plain = training_guarantee(run.noise_multiplier, run.sample_rate, run.steps)
    found = training_guarantee(run.noise_multiplier, run.sample_rate, run.steps, selection=selection)
    assert plain.epsilon.estimate == pytest.approx(spent(run), rel=1e-3)
    assert found.epsilon.estimate == pytest.approx(spent(run, selection), rel=1e-3)
    assert 0 < 1 - plain.epsilon.upper / found.epsilon.upper < 0.02  # the paper's "negligible fraction"


def test_the_noise_of_the_selection_is_the_least_within_epsilon(training, charged):
    epsilon, selection = training.epsilon.upper * 1.03, charged.total.selection
    assert charged.total.epsilon.upper <= epsilon
    assert spent(training.run, selection) <= epsilon
    more = DpSgd(selection.noise_multiplier * 0.97, selection.sample_rate, selection.steps)
    assert training_guarantee(0.8, 0.04, 25, selection=more).epsilon.upper > epsilon
    assert charged.share == pytest.approx(1 - training.epsilon.upper / charged.total.epsilon.upper)
    assert 0.015 < charged.share <= 0.03
    assert charged.to_dict() == {"epsilon_without": training.epsilon.upper, "share_of_epsilon": charged.share}


def test_a_planted_selection_that_is_not_charged_is_found(monkeypatch, training):
    epsilon = training.epsilon.upper * 1.03
    monkeypatch.setattr(layer_selection, "composed", lambda runs: dp_sgd.composed(runs[:1]))
    monkeypatch.setattr(
        layer_selection,
        "training_guarantee",
        lambda noise, rate, steps, delta, selection: replace(training, selection=selection),
    )
    planted = charged_selection(training, 0.04, 4, epsilon)
    assert planted.total.epsilon.upper <= epsilon  # it claims to be within epsilon
    assert spent(training.run, planted.total.selection) > epsilon  # and is not


def test_an_epsilon_that_the_training_uses_up_is_refused(training):
    with pytest.raises(UserError, match=r"the training's alone.*Choose a larger --selection-share"):
        charged_selection(training, 0.04, 4, training.epsilon.upper * 0.99)


def test_a_selection_without_weight_is_free():
    found = training_guarantee(1.0, 1e-9, 10, selection=DpSgd(10.0, 1e-9, 2))
    assert (found.epsilon.upper, found.opacus) == (0.0, None)
    assert math.isclose(found.selection.noise_multiplier, 10.0)
