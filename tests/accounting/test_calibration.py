"""Calibration: on the safe side of the target, least to the last digit, and the bits table against simulation."""

import builtins
import math
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from del_audit.accounting import Accountant, inversion_bound
from del_audit.accounting.calibration import BitsChoice, Target, calibrate, render, smallest_bits
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

CASES = [
    (4, 18, 1.0, Target.epsilon(10.0)),
    (4, 18, 0.05, Target.epsilon(8.0, 1e-6, "prompt", 64)),
    (1, 1, 3.0, Target.epsilon(0.5, 0.01)),
    (8, 72, 1.0, Target.epsilon(3000.0, 1e-9, "session", 100_000)),
    (4, 18, 1.0, Target.epsilon(0.0, 0.1)),
    (4, 18, 1.0, Target.delta(1e-5, 10.0)),
    (2, 7, 1.0, Target.delta(1e-30, 4.0, "phrase", 3)),
    (4, 18, 1.0, Target.delta(0.0, 10.0)),
    (4, 18, 1.0, Target.total_variation(0.3)),
    (8, 768, 0.2, Target.total_variation(1e-3, "prompt", 512)),
    (4, 18, 1.0, Target.attack_success(0.3, 0.05)),
    (1, 18, 1.0, Target.attack_success(0.9, 1e-6, "phrase", 5)),
]
FINDS = st.tuples(st.integers(1, 8), st.integers(1, 40), st.floats(1.5, 1e4), st.integers(1, 50))


def _figure(target, spec):
    """The figure by the public accountant, which knows nothing of targets."""
    unit, proved = (target.unit, target.tokens), Accountant(spec, proved=True)
    if target.kind == "epsilon":
        return proved.epsilon(target.at, *unit)
    if target.kind == "delta":
        return proved.delta(target.at, *unit)
    if target.kind == "total_variation":
        return proved.total_variation(*unit)
    return inversion_bound(spec, target.at, target.tokens, proved=True)


@pytest.mark.parametrize(("bits", "dim", "clip", "target"), CASES)
def test_it_meets_the_target_and_the_float_below_does_not(bits, dim, clip, target):
    found = calibrate(bits, dim, clip, target)
    assert (found.spec.bits, found.spec.dim, found.spec.clip) == (bits, dim, clip)
    assert found.achieved == _figure(target, found.spec) == target.of(found.spec)
    assert found.achieved.upper <= target.value
    assert found.achieved.kind == "proved"
    below = QuantizerSpec(bits, dim, clip, math.nextafter(found.spec.scale, 0))
    assert below.threshold_high == found.spec.threshold_high + 1
    assert found.beyond == _figure(target, below)
    assert found.is_least
    assert found.beyond.lower > target.value


def _delta_at(threshold, epsilon, trials):
    p = Fraction(threshold, 2**32)
    return oracle.delta(epsilon, trials, p, 1 - p)


@pytest.mark.parametrize(
    ("target", "epsilon", "delta"),
    [
        (Target.epsilon(10.0), 10.0, 1e-5),
        (Target.delta(1e-5, 10.0), 10.0, 1e-5),
        (Target.delta(1e-40, 60.0), 60.0, 1e-40),
        (Target.total_variation(0.3), 0.0, 0.3),
    ],
)
def test_the_root_lies_between_two_thresholds_by_sums_of_sixty_digits(target, epsilon, delta):
    threshold = calibrate(4, 18, 1.0, target).spec.threshold_high
    assert _delta_at(threshold, epsilon, 270) <= oracle.real(delta) < _delta_at(threshold + 1, epsilon, 270)


def test_the_pure_epsilon_lies_between_two_thresholds():
    threshold = calibrate(4, 18, 1.0, Target.delta(0.0, 10.0)).spec.threshold_high
    pure, next_pure = (270 * math.log(t / (2**32 - t)) for t in (threshold, threshold + 1))
    assert pure <= 10 < next_pure


def test_the_attack_bound_lies_between_two_thresholds_by_sums_of_sixty_digits():
    threshold = calibrate(4, 18, 1.0, Target.attack_success(0.3, 0.05)).spec.threshold_high
    kappa, half, x = oracle.real(0.05), Fraction(1, 2), 270
    while oracle.upper_tail(x - 1, 270, half) <= kappa:
        x -= 1
    low, high = (oracle.upper_tail(count, 270, half) for count in (x, x - 1))
    share = (kappa - low) / (high - low)

    def success(t):
        p = Fraction(t, 2**32)
        return (1 - share) * oracle.upper_tail(x, 270, p) + share * oracle.upper_tail(x - 1, 270, p)

    assert success(threshold) <= oracle.real(0.3) < success(threshold + 1)


def test_epsilon_at_delta_and_delta_at_epsilon_are_one_question():
    for epsilon, delta, tokens in ((10.0, 1e-5, 1), (200.0, 1e-8, 64)):
        unit = "token" if tokens == 1 else "prompt"
        one = calibrate(4, 18, 1.0, Target.epsilon(epsilon, delta, unit, tokens))
        other = calibrate(4, 18, 1.0, Target.delta(delta, epsilon, unit, tokens))
        assert one.spec == other.spec
        assert (one.achieved.upper, other.achieved.upper) != (epsilon, delta)


@settings(max_examples=25)
@given(FINDS, st.sampled_from(["epsilon", "total_variation", "attack_success"]))
def test_round_trip_gives_the_threshold_back(find, kind):
    bits, dim, scale, tokens = find
    spec, unit = QuantizerSpec(bits, dim, 1.0, scale), ("token" if tokens == 1 else "phrase", tokens)
    ask = {
        "epsilon": lambda value: Target.epsilon(value, 1e-5, *unit),
        "total_variation": lambda value: Target.total_variation(value, *unit),
        "attack_success": lambda value: Target.attack_success(value, 0.02, *unit),
    }[kind]
    value = ask(0.5).of(spec).upper
    assume(1e-6 < value < (math.inf if kind == "epsilon" else 0.999))
    found = calibrate(bits, dim, 1.0, ask(value))
    assert found.spec.threshold_high == spec.threshold_high
    assert found.achieved.upper == value
    assert found.spec.scale <= scale <= found.spec.scale * (1 + 2**-31 * scale * 1.01)


def test_off_the_root_of_unrounded_chances_by_half_a_step_at_most():
    for clip, epsilon in ((1.0, 3.0), (1.0, 30.0), (0.05, 300.0)):
        found = calibrate(4, 18, clip, Target.epsilon(epsilon)).spec.scale
        low, high = 1.0001 * clip, 1000 * clip
        while low < (middle := (low + high) / 2) < high:
            spec = QuantizerSpec(4, 18, clip, middle)
            met = Accountant(spec, exact_reals=True).epsilon(1e-5).estimate <= epsilon
            low, high = (low, middle) if met else (middle, high)
        assert abs(found / high - 1) <= 2**-32 * high / clip + 1e-12


def test_a_looser_target_takes_a_smaller_scale():
    scales = [calibrate(4, 18, 1.0, Target.epsilon(value)).spec.scale for value in (0.1, 1, 1.0001, 10, 100, 1000)]
    assert scales == sorted(scales, reverse=True)
    assert len(set(scales)) == len(scales)
    scales = [calibrate(4, 18, 1.0, Target.attack_success(value, 0.1)).spec.scale for value in (0.101, 0.2, 0.9, 0.99)]
    assert scales == sorted(scales, reverse=True)
    tokens = [calibrate(4, 18, 1.0, Target.epsilon(10.0, 1e-5, "session", k)).spec.scale for k in (1, 2, 50)]
    assert tokens == sorted(tokens)


def test_the_unit_of_the_codes_does_not_matter():
    found = calibrate(4, 18, 1.0, Target.epsilon(10.0)).spec.scale
    for power in (-900, -5, 900):
        assert calibrate(4, 18, 2.0**power, Target.epsilon(10.0)).spec.scale == found * 2.0**power
    tiny = calibrate(4, 18, 5e-324, Target.epsilon(10.0))
    assert tiny.spec.scale == 5e-324 * math.ceil(found)
    assert tiny.achieved.upper <= 10
    with pytest.raises(UserError, match="Expected a clip whose scale is a finite number, got clip=1e\\+308"):
        calibrate(4, 18, 1e308, Target.epsilon(10.0))


def test_a_target_that_every_scale_meets_gives_the_smallest_allowed_scale():
    found = calibrate(4, 18, 1.0, Target.epsilon(1e5))
    assert found.spec.threshold_high == 2**32 - 1
    assert found.beyond is None
    assert found.is_least
    with pytest.raises(UserError, match="a trial would be certain"):
        QuantizerSpec(4, 18, 1.0, math.nextafter(found.spec.scale, 0))
    assert "Every scale above the clip meets the target" in render(found)


@pytest.mark.parametrize(
    "target", [Target.total_variation(1e-12), Target.delta(1e-12, 0.0), Target.attack_success(0.05 + 1e-13, 0.05)]
)
def test_an_unreachable_target_names_the_least_that_can_be_reached(target):
    with pytest.raises(UserError, match=f"Expected {target.kind} >= .*not pure noise, got {target.kind}=") as caught:
        calibrate(4, 18, 1.0, target)
    least = float(re.search(r">= (\S+?),? ", str(caught.value))[1])
    assert least > target.value
    found = calibrate(4, 18, 1.0, Target(target.kind, least, target.at))
    assert found.spec.threshold_high == 2**31 + 1
    assert found.achieved.upper == least


def test_an_unproved_neighbour_is_named_and_the_safe_side_taken():
    target = Target.total_variation(1 - 2**-53)
    found = calibrate(4, 18, 1.0, target)
    assert found.achieved.upper <= target.value
    assert found.beyond.lower <= target.value < found.beyond.upper
    assert not found.is_least
    assert "proved neither to meet nor to miss" in render(found)


def test_contract_of_the_record():
    record = calibrate(4, 18, 1.0, Target.attack_success(0.3, 0.05, "phrase", 2)).to_dict()
    assert list(record) == ["spec", "target", "achieved"]
    assert list(record["spec"]) == ["bits", "dim", "clip", "scale"]
    assert list(record["achieved"]) == ["lower", "estimate", "upper"]
    assert record["target"] == {"kind": "attack_success", "value": 0.3, "kappa": 0.05, "unit": "phrase", "tokens": 2}
    assert list(Target.delta(0, 1).to_dict()) == ["kind", "value", "epsilon", "unit", "tokens"]
    assert list(Target.total_variation(0.5).to_dict()) == ["kind", "value", "unit", "tokens"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Target.epsilon(-1), "Expected epsilon to be a finite number >= 0, got epsilon=-1.0."),
        (lambda: Target.epsilon(math.nan), "Expected epsilon to be a finite number >= 0, got epsilon=nan."),
        (lambda: Target.epsilon("8"), "Expected epsilon to be a number, got epsilon='8'."),
        (lambda: Target.epsilon(1, 0), "Expected delta in (0, 1), got delta=0.0."),
        (lambda: Target.epsilon(1, 1), "Expected delta in (0, 1), got delta=1.0."),
        (lambda: Target.delta(1, 1), "Expected delta in [0, 1), got delta=1.0."),
        (lambda: Target.delta(-0.1, 1), "Expected delta in [0, 1), got delta=-0.1."),
        (lambda: Target.delta(0.1, math.inf), "Expected epsilon to be a finite number >= 0, got epsilon=inf."),
        (lambda: Target("delta", 0.1), "Expected epsilon to be a number, got epsilon=None."),
        (lambda: Target.total_variation(0), "Expected total_variation in (0, 1), got total_variation=0.0."),
        (lambda: Target.total_variation(1), "Expected total_variation in (0, 1), got total_variation=1.0."),
        (lambda: Target("total_variation", 0.1, 0.2), "Expected at=None for kind=total_variation, got at=0.2."),
        (lambda: Target.attack_success(0.5, 0), "Expected kappa in (0, 1), got kappa=0.0."),
        (lambda: Target.attack_success(0.2, 0.2), "Expected attack_success in (0.2, 1), above kappa"),
        (lambda: Target.attack_success(1, 0.2), "Expected attack_success in (0.2, 1), above kappa"),
        (lambda: Target("advantage", 0.2), "Expected kind to be one of epsilon, delta, total_variation, attack_succ"),
        (lambda: Target.epsilon(1, unit="word"), "Expected unit to be one of token, phrase, prompt, session"),
        (lambda: Target.epsilon(1, tokens=3), "Expected tokens=1 for unit=token, got tokens=3"),
        (lambda: calibrate(9, 18, 1.0, Target.epsilon(1)), "Expected bits in 1..8, got bits=9."),
        (lambda: calibrate(4, 0, 1.0, Target.epsilon(1)), "Expected dim >= 1, got dim=0."),
        (lambda: calibrate(4, 18, 0.0, Target.epsilon(1)), "Expected clip > 0, got clip=0.0."),
        (lambda: calibrate(4, 18, math.inf, Target.epsilon(1)), "Expected clip to be a finite number, got clip=inf."),
        (
            lambda: calibrate(8, 4096, 1.0, Target.epsilon(1, 1e-5, "session", 10**6)),
            "Expected at most 10000000000 trials",
        ),
        (
            lambda: smallest_bits(18, 1.0, Target.epsilon(1), 2),
            "Expected bytes_a_token to be a whole number >= 3 for dim=18, got bytes_a_token=2.",
        ),
        (
            lambda: smallest_bits(18, 1.0, Target.epsilon(1), 9.0),
            ">= 3 for dim=18, got bytes_a_token=9.0.",
        ),
        (lambda: smallest_bits(0, 1.0, Target.epsilon(1), 9), "Expected dim >= 1, got dim=0."),
        (lambda: smallest_bits(18, 1.0, Target.epsilon(1), 9, -0.1), "Expected loss to be a finite number >= 0, got"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(make, message):
    with pytest.raises(UserError) as caught:
        make()
    assert message in str(caught.value)


def test_without_python_flint_nothing_is_claimed(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "flint":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'del-audit\[proved\]'"):
        calibrate(4, 18, 1.0, Target.epsilon(1))
    with pytest.raises(UserError, match=r"pip install 'del-audit\[proved\]'"):
        smallest_bits(18, 1.0, Target.epsilon(1), 9)


def test_it_imports_no_heavy_library():
    code = "import sys, del_audit.accounting.calibration; print([n for n in ('torch', 'flint') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_variance_is_what_the_released_counts_show(bits):
    found = calibrate(bits, 18, 0.5, Target.epsilon(40.0))
    quantizer, u = StochasticQuantizer(found.spec), found.spec.trials
    counts = quantizer.quantize(np.zeros((4000, 18)), SimulatedRandomness(7, "variance"))
    decoded = quantizer.dequantize(counts).astype(np.float64) / 0.5
    spread = math.sqrt((2 - 2 / u) / decoded.size)  # of the mean square, relative: the binomial's fourth moment
    assert np.mean(decoded**2) == pytest.approx(found.variance, rel=4.9 * spread)
    assert np.mean(decoded**2) != pytest.approx(found.variance * u / (u + 1), rel=4.9 * spread)
    assert abs(np.mean(decoded)) < 4.9 * math.sqrt(found.variance / decoded.size)


def test_one_bit_at_the_centre_is_plus_or_minus_the_scale():
    found = calibrate(1, 18, 0.5, Target.epsilon(40.0))
    quantizer = StochasticQuantizer(found.spec)
    decoded = quantizer.dequantize(quantizer.quantize(np.zeros((50, 18)), SimulatedRandomness(7, "variance")))
    assert np.unique(np.abs(decoded / 0.5)) ** 2 == pytest.approx(found.variance, rel=1e-6)


def test_at_equal_mu_more_bits_save_one_part_in_u_at_most():
    for mu in (0.5, 5.0, 50.0):
        specs = [QuantizerSpec.from_mu(bits, 18, 0.3, mu) for bits in range(1, 9)]
        for spec in specs:
            variance = (spec.scale / spec.clip) ** 2 / spec.trials
            assert variance == pytest.approx(4 * 18 / mu**2 + 1 / spec.trials, rel=1e-12)


@pytest.fixture(scope="module")
def loose_choice():
    return smallest_bits(18, 1.0, Target.epsilon(200.0), 9, loss=0.05)


def test_the_table_has_every_bits_that_fits_at_the_same_guarantee(loose_choice):
    assert [row.spec.bits for row in loose_choice.table] == [1, 2, 3, 4]
    assert [row.bytes_a_token for row in loose_choice.table] == [3, 5, 7, 9]
    for row in loose_choice.table:
        assert row == calibrate(row.spec.bits, 18, 1.0, Target.epsilon(200.0))
        assert row.variance == pytest.approx(row.spec.scale**2 / (2**row.spec.bits - 1), rel=1e-15)
        assert loose_choice.loss(row) >= 0


def test_the_fewest_bits_within_the_loss_are_chosen(loose_choice):
    variances = [row.variance for row in loose_choice.table]
    assert variances == sorted(variances, reverse=True)  # this target is one where more bits do help
    for row in loose_choice.table:
        loss = loose_choice.loss(row)
        assert smallest_bits(18, 1.0, Target.epsilon(200.0), 9, loss * (1 + 1e-9)).chosen == row
    within = [row for row in loose_choice.table if row.variance <= 1.05 * min(variances)]
    assert loose_choice.chosen is within[0]
    assert loose_choice.chosen is not loose_choice.table[0]


def test_bytes_at_the_edge_of_a_number_of_bits():
    for budget, most in ((6, 2), (7, 3), (8, 3), (1000, 8)):
        assert smallest_bits(18, 1.0, Target.epsilon(10.0), budget).table[-1].spec.bits == most


def test_far_in_the_tail_the_fewest_bits_have_the_least_noise():
    choice = smallest_bits(18, 1.0, Target.epsilon(10.0, 1e-5), 18)
    variances = [row.variance for row in choice.table]
    assert variances == sorted(variances)
    assert choice.chosen.spec.bits == 1
    assert variances[1] > 1.2 * variances[0]


def test_bits_that_cannot_reach_the_target_are_left_out():
    choice = smallest_bits(18, 1.0, Target.total_variation(5e-9), 18)
    trials = [18 * (2**bits - 1) for bits in range(1, 9)]
    least = [Fraction(n * math.comb(n - 1, (n - 1) // 2), 2 ** (n + 30)) for n in trials]  # at threshold 2^31 + 1
    assert [row.spec.bits for row in choice.table] == [bits for bits in range(1, 9) if least[bits - 1] <= 5e-9]
    assert 1 < len(choice.table) < 8
    with pytest.raises(UserError, match="Expected total_variation >= "):
        calibrate(len(choice.table) + 1, 18, 1.0, Target.total_variation(5e-9))
    with pytest.raises(UserError, match="that of the noisiest release of 18 trials"):
        smallest_bits(18, 1.0, Target.total_variation(1e-12), 18)


def test_contract_of_the_choice(loose_choice):
    record = loose_choice.to_dict()
    assert isinstance(loose_choice, BitsChoice)
    assert list(record) == ["spec", "target", "achieved", "table"]
    assert {key: record[key] for key in ("spec", "target", "achieved")} == loose_choice.chosen.to_dict()
    assert [list(row) for row in record["table"]] == [["bits", "bytes_a_token", "scale", "variance", "loss"]] * 4
    text = render(loose_choice)
    assert sum(line.endswith("chosen") for line in text.splitlines()) == 1
    for row in loose_choice.table:
        assert repr(row.spec.scale) in text
