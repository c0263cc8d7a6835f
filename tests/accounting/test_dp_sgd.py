"""Theorem 11: the guarantee of a training run stands by itself, and two accountants agree on it."""

import json
import math
import subprocess
import sys
from dataclasses import fields, is_dataclass

import mpmath
import numpy as np
import pytest

from del_audit.accounting import dp_sgd
from del_audit.accounting.composition import Composition, Losses
from del_audit.accounting.dp_sgd import TrainingGuarantee, render, training_guarantee
from del_audit.accounting.other_mechanisms import DpSgd
from del_audit.accounting.session import Part, Session
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


@pytest.fixture(autouse=True)
def _needs_the_extra(request):
    if "missing" not in request.node.name:
        pytest.importorskip("dp_accounting", reason="needs the extra dp")
        pytest.importorskip("opacus", reason="needs the extra dp")


@pytest.fixture(scope="module")
def quoted():
    """Returns the guarantee of a short run; the figures of both accountants and the lower bound are its true ones."""
    return training_guarantee(1.1, 0.01, 100)


def gaussian_epsilon(noise, releases, delta):
    """The exact epsilon of Gaussian releases, by bisection of its closed form in 60 digits."""
    mu = mpmath.sqrt(releases) / mpmath.mpf(noise)
    low, high = mpmath.mpf(0), mu * mu / 2 + 60 * mu
    for _ in range(120):
        middle = (low + high) / 2
        value = mpmath.ncdf(mu / 2 - middle / mu) - mpmath.exp(middle) * mpmath.ncdf(-mu / 2 - middle / mu)
        low, high = (middle, high) if value > delta else (low, middle)
    return float(high)


REALISTIC = [
    (0.6, 0.004, 2000, 1e-6),
    (0.8, 0.05, 200, 1e-5),
    (1.1, 0.01, 1000, 1e-5),
    (1.1, 0.01, 1000, 1e-9),
    (2.0, 0.25, 3000, 1e-5),
    (4.0, 0.02, 500, 1e-7),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), REALISTIC)
def test_two_accountants_agree_and_the_larger_is_quoted(noise, rate, steps, delta):
    found = training_guarantee(noise, rate, steps, delta)
    assert found.opacus == pytest.approx(found.dp_accounting, rel=0.01)
    assert found.epsilon.upper == max(found.opacus, found.dp_accounting)
    assert found.epsilon.estimate == min(found.opacus, found.dp_accounting)
    assert 0 <= found.epsilon.lower <= found.epsilon.estimate
    assert (found.run, found.delta) == (DpSgd(noise, rate, steps), delta)
    above = []
    for direction in ("remove", "add"):  # a third computation, of theorem 14, which shares no code with the two
        pair = found.run.pair(direction, "upper", delta * 1e-7 / steps)
        losses = Losses(pair.losses.loss, pair.losses.log_mass, steps)
        above.append(Composition([losses], 1 << 18).epsilon(delta * (1 - 2e-7)).upper)
    assert found.epsilon.estimate == pytest.approx(max(above), rel=0.01)


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 1), (5.0, 40), (1.0, 3), (30.0, 1000)])
@pytest.mark.parametrize("delta", [0.05, 1e-5, 1e-9])
def test_a_sample_rate_of_one_is_the_exact_gaussian(noise, steps, delta):
    truth = gaussian_epsilon(noise, steps, delta)
    bound = training_guarantee(noise, 1.0, steps, delta).epsilon
    assert bound.lower <= truth <= bound.upper
    assert bound.upper == pytest.approx(truth, rel=0.01, abs=0.002)
    assert bound.lower >= 0.9 * truth


def test_more_steps_noise_and_sampling_move_epsilon_as_they_must(monkeypatch):
    monkeypatch.setattr(dp_sgd, "_lower", lambda run, delta: 0.0)  # the upper end alone is compared
    base = training_guarantee(1.0, 0.01, 500).epsilon.upper
    assert training_guarantee(1.0, 0.01, 1000).epsilon.upper > base
    assert training_guarantee(1.0, 0.02, 500).epsilon.upper > base
    assert training_guarantee(2.0, 0.01, 500).epsilon.upper < base
    assert training_guarantee(1.0, 0.01, 500, 1e-3).epsilon.upper < base


def test_a_tiny_epsilon_is_quoted_within_its_grid():
    bound = training_guarantee(50.0, 0.01, 100).epsilon
    assert bound.lower < bound.estimate < bound.upper < 0.01
    assert bound.upper - bound.estimate <= 0.002


def test_theorem_11_a_training_guarantee_cannot_be_added_to_a_querys(quoted):
    found = quoted
    spec = QuantizerSpec.from_mu(4, 18, 0.05, 2)
    session = Session((Part(spec, 1),))
    for other in (session, session.epsilon(1e-5), 1.0, found):
        with pytest.raises(TypeError):
            _ = found + other
    with pytest.raises(AttributeError):
        Session((Part(spec, 1),), (found,)).epsilon(1e-5)
    assert is_dataclass(TrainingGuarantee)
    assert "tokens" not in {field.name for field in fields(TrainingGuarantee)}
    assert found.unit == "training example"


def test_contract_and_text_name_unit_kind_and_delta():
    found = training_guarantee(1.1, 0.01, 100, 1e-6)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(record) == ["training", "unit", "adjacency", "delta", "kind", "exact", "epsilon", "accountants"]
    assert record["training"] == {"noise_multiplier": 1.1, "sample_rate": 0.01, "steps": 100}
    assert (record["unit"], record["delta"], record["exact"]) == ("training example", 1e-6, False)
    assert record["kind"] == "float with error bound"
    assert record["epsilon"]["upper"] == max(record["accountants"].values())
    text = render(found)
    for words in (
        "training example",
        repr(found.epsilon.upper),
        "delta=1e-06",
        "upper bound",
        "Poisson",
        "one example more",
    ):
        assert words in text


@pytest.mark.parametrize("other", [1.2, 0.8, math.inf, math.nan])
def test_accountants_that_disagree_are_not_quoted(quoted, monkeypatch, other):
    monkeypatch.setattr(dp_sgd, "_dp_accounting", lambda run, delta: quoted.dp_accounting)
    monkeypatch.setattr(dp_sgd, "_lower", lambda run, delta: quoted.epsilon.lower)
    monkeypatch.setattr(dp_sgd, "_opacus", lambda run, delta, expected: expected * other)
    with pytest.raises(UserError, match=r"Opacus and dp-accounting to agree within 1%.*none is quoted"):
        training_guarantee(1.1, 0.01, 100)


def test_a_figure_below_the_lower_bound_is_not_quoted(monkeypatch):
    truth = training_guarantee(5.0, 1.0, 10).epsilon
    wrong = 0.9 * truth.lower
    monkeypatch.setattr(dp_sgd, "_opacus", lambda run, delta, expected: wrong)
    monkeypatch.setattr(dp_sgd, "_dp_accounting", lambda run, delta: wrong)
    with pytest.raises(UserError, match="none is quoted"):
        training_guarantee(5.0, 1.0, 10)


def test_an_epsilon_beyond_opacus_is_refused():
    with pytest.raises(UserError, match="got inf and 5"):
        training_guarantee(0.1, 1.0, 100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 0.1, 10), "Expected noise_multiplier to be a number in [0.1, 10000], got noise_multiplier=0.0."),
        ((1.0, 0.0, 10), "Expected sample_rate to be a number in (0, 1], got sample_rate=0.0."),
        ((1.0, 1.01, 10), "Expected sample_rate to be a number in (0, 1], got sample_rate=1.01."),
        ((1.0, 0.1, 0), "Expected steps to be a whole number in 1..100000, got steps=0."),
        ((1.0, 0.1, 10.0), "Expected steps to be a whole number in 1..100000, got steps=10.0."),
        ((1.0, 0.1, 10, 1e-11), "Expected delta in [1e-10, 1), got delta=1e-11."),
        ((1.0, 0.1, 10, 1.0), "Expected delta in [1e-10, 1), got delta=1.0."),
        ((1.0, 0.1, 10, np.nan), "Expected delta in [1e-10, 1), got delta=nan."),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(UserError) as raised:
        training_guarantee(*arguments)
    assert str(raised.value) == words


@pytest.mark.parametrize(
    ("module", "name"),
    [("dp_accounting.pld.privacy_loss_distribution", "dp-accounting"), ("opacus.accountants", "opacus")],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    if name == "opacus":
        monkeypatch.setattr(dp_sgd, "_dp_accounting", lambda run, delta: 1.0)
    with pytest.raises(UserError, match=rf"Expected {name} to be installed.*pip install 'del-audit\[dp\]'"):
        training_guarantee(1.0, 0.1, 10)


@pytest.mark.parametrize("module", ["dp_sgd", "session", "other_mechanisms"])
def test_importing_starts_no_heavy_library(module):
    heavy = ["torch", "opacus", "dp_accounting", "pydantic"]
    code = f"import sys, del_audit.accounting.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_epsilon_of_0_is_quoted_and_is_not_negative():
    """At delta(0) = 0.0442 both accountants went below 0, and the figure was refused."""
    found = training_guarantee(1.1, 0.01, 100, 0.1)
    assert (found.epsilon.lower, found.epsilon.estimate, found.epsilon.upper) == (0.0, 0.0, 0.0)
    assert (found.opacus, found.dp_accounting) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"),
    [(0.5, 1e-12, 100_000, 0.5), (10_000, 1e-12, 100_000, 1e-10), (0.1, 1, 1, 0.9999999)],
)
def test_rates_too_small_to_matter_have_an_epsilon_of_0_at_once(noise, rate, steps, delta):
    """The distance of two normal laws whose means are 1 / noise apart, rate of it a step: at most steps as much."""
    one = rate * math.erf(1 / (noise * math.sqrt(8)))
    assert steps * one <= delta
    found = training_guarantee(noise, rate, steps, delta)
    assert found.epsilon.upper == 0
    assert found.opacus is None
    assert "no accountant is needed" in render(found)


def test_an_accountant_that_finds_nothing_is_one_clear_error():
    with pytest.raises(
        UserError, match=r"Expected Opacus to find an epsilon .* got RuntimeError: none is quoted. Choose"
    ):
        training_guarantee(0.1, 0.5, 10_000, 0.1)


@pytest.mark.parametrize("error", [MemoryError, OverflowError, RuntimeError, ValueError, FloatingPointError])
def test_whatever_an_accountant_raises_is_one_clear_error(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(dp_sgd, "_dp_accounting", fail)
    with pytest.raises(UserError, match=f"Expected dp-accounting to find an epsilon .* got {error.__name__}: none"):
        training_guarantee(1.1, 0.01, 100, 1e-5)
