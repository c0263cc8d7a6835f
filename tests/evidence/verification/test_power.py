"""What a battery says that it catches, it catches; needs are those of Stein's lemma."""

import math

import pytest
from scipy.stats import binom

from del_audit.evidence.verification import stein_need, verify_mechanism
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(4, 18, 0.05, 20.0)


def battery(actual, claimed, trials, seed):
    quantizer, source = StochasticQuantizer(actual), SimulatedRandomness(seed, "power")
    return verify_mechanism(
        lambda values: quantizer.quantize(values, source),
        claimed,
        trials=trials,
        rng=simulation_generator(seed, "power"),
        processes=False,
    )


def off(spec, error):
    return QuantizerSpec(spec.bits, spec.dim, spec.clip, spec.scale * (1 + error))


def test_needs_are_divergences():
    claimed, actual = SPEC.threshold_high / 2**32, off(SPEC, -0.01).threshold_high / 2**32
    divergence = actual * math.log(actual / claimed) + (1 - actual) * math.log((1 - actual) / (1 - claimed))
    need = stein_need(SPEC, -0.01)
    assert need.plain == pytest.approx(math.log(1000) / divergence / 270, rel=1e-6)
    assert need.at_power == pytest.approx((3.090232306 + 1.281551566) ** 2 / 2 / divergence / 270, rel=1e-6)


def test_more_rows_catch_smaller_errors():
    few, many = (battery(SPEC, SPEC, trials, 0).detects for trials in (500, 4000))
    for name in ("scale_error", "coordinate_scale_error", "clean_share", "correlation"):
        assert getattr(many, name) < getattr(few, name), name
        assert 0 < getattr(many, name) < 1, name


def test_one_percent_of_the_scale_takes_at_most_twice_what_any_test_needs():
    trials = 2500
    assert battery(SPEC, SPEC, trials, 0).detects.scale_error <= 0.01
    verification = battery(off(SPEC, -0.01), SPEC, trials, 0)
    assert verification.rows <= 2 * stein_need(SPEC, -0.01).plain
    runs = 30
    caught = sum(
        any(finding.name == "scale" for finding in battery(off(SPEC, -0.01), SPEC, trials, seed).rejected)
        for seed in range(runs)
    )
    assert caught >= binom.ppf(1e-4, runs, 0.9)


@pytest.mark.slow
def test_stated_errors_are_caught_nine_times_in_ten_and_halves_of_them_are_not():
    runs, trials = 100, 1500
    stated = battery(SPEC, SPEC, trials, 0).detects.scale_error

    def caught(error):
        batteries = (battery(off(SPEC, error), SPEC, trials, seed) for seed in range(runs))
        return sum(any(finding.name == "scale" for finding in verification.rejected) for verification in batteries)

    assert caught(-stated) >= binom.ppf(1e-4, runs, 0.88)
    assert caught(-stated / 2) <= binom.isf(1e-4, runs, 0.25)
