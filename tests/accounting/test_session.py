"""Sessions: resends, prompts of several lengths, several quantizers, and other mechanisms beside them."""

import math
import sys
from fractions import Fraction

import mpmath
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from del_audit.accounting import Accountant
from del_audit.accounting.composition import Composition, Trials
from del_audit.accounting.other_mechanisms import DpSgd, Gaussian, Guaranteed, PrivacyLoss
from del_audit.accounting.session import Part, Session
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec(bits=4, dim=18, clip=0.05, scale=0.8)
SMALL = QuantizerSpec(bits=4, dim=1, clip=1.0, scale=4.0)
FINE = QuantizerSpec(bits=2, dim=3, clip=1.0, scale=7.0)


@pytest.fixture(scope="module")
def pld():
    return pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="needs the extra dp")


def chance(spec):
    return Fraction(spec.threshold_high, 2**32)


def binomial(spec, trials):
    """Losses of the worst pair and P's masses, in 60 digits."""
    p = chance(spec)
    step = mpmath.log(oracle.real(p / (1 - p)))
    return [((2 * x - trials) * step, oracle.mass(x, trials, p)) for x in range(trials + 1)]


def gaussian_delta(epsilon, mu):
    """Phi(mu/2 - e/mu) - exp(e) Phi(-mu/2 - e/mu) in 60 digits, for any real e."""
    e, mu = mpmath.mpf(epsilon), mpmath.mpf(mu)
    return mpmath.ncdf(mu / 2 - e / mu) - mpmath.exp(e) * mpmath.ncdf(-mu / 2 - e / mu)


def test_one_quantizer_is_the_accountants_session():
    accountant = Accountant(SPEC)
    session = Session((Part(SPEC, 5), Part(SPEC, 7, sends=3)))
    assert session.exact
    assert (session.tokens, session.trials) == (26, 26 * 18 * 15)
    assert session.epsilon(1e-5) == accountant.epsilon(1e-5, "session", 26)
    assert session.delta(2.5) == accountant.delta(2.5, "session", 26)
    assert session.total_variation == accountant.total_variation("session", 26)
    assert session.pure_epsilon.estimate == pytest.approx(accountant.pure_epsilon("session", 26).estimate, rel=1e-14)
    assert session.adjacency == "any two sessions in which 26 tokens are sent, resent ones counted each time"


def test_prompts_of_several_lengths_count_their_tokens():
    session = Session.of_prompts(SPEC, [12, 80, 33], sends=2)
    assert [part.tokens for part in session.parts] == [12, 80, 33]
    assert session.epsilon(1e-6) == Session((Part(SPEC, 250),)).epsilon(1e-6)


def test_a_resent_token_costs_as_much_as_another_one():
    assert Session((Part(SPEC, 1, sends=9),)).epsilon(1e-5) == Session((Part(SPEC, 9),)).epsilon(1e-5)
    assert Session((Part(SPEC, 1, sends=9),)).epsilon(1e-5).lower > Session((Part(SPEC, 1),)).epsilon(1e-5).upper


def test_padding_to_a_common_length_is_paid_for():
    padded = [64 * math.ceil(length / 64) for length in (12, 80, 33)]
    assert Session.of_prompts(SPEC, padded).tokens == 64 + 128 + 64
    assert Session.of_prompts(SPEC, padded).epsilon(1e-5).lower > Session.of_prompts(SPEC, [125]).epsilon(1e-5).upper


def test_equal_thresholds_add_up_whatever_bits_and_dim():
    other = QuantizerSpec(bits=8, dim=3, clip=0.1, scale=1.6)
    assert other.threshold_high == SPEC.threshold_high
    session = Session((Part(SPEC, 2), Part(other, 4)))
    assert session.exact
    assert session.trials == 2 * 270 + 4 * 3 * 255
    p = chance(SPEC)
    bound = session.delta(3.0)
    assert oracle.real(bound.lower) <= oracle.delta(3.0, session.trials, p, 1 - p) <= oracle.real(bound.upper)


def test_two_quantizers_against_all_outcomes():
    session = Session((Part(SMALL, 2), Part(FINE, 1, sends=2)))
    assert not session.exact
    points = [(one + other, mass * weight) for one, mass in binomial(SMALL, 30) for other, weight in binomial(FINE, 18)]

    def delta(epsilon):
        return mpmath.fsum(-mpmath.expm1(epsilon - loss) * mass for loss, mass in points if loss > epsilon)

    for epsilon in (0.0, 1.0, 6.0, 15.0):
        bound = session.delta(epsilon)
        assert oracle.real(bound.lower) <= delta(epsilon) <= oracle.real(bound.upper)
        assert bound.upper - bound.lower <= 0.01 * bound.upper
    for goal in (0.1, 1e-5, 1e-12):
        bound = session.epsilon(goal)
        assert delta(bound.upper) <= oracle.real(goal) <= delta(bound.lower)
        assert bound.upper - bound.lower <= 0.01
    assert session.total_variation == session.delta(0.0)
    pure = session.pure_epsilon
    assert oracle.real(pure.lower) <= max(loss for loss, _ in points) <= oracle.real(pure.upper)


def test_a_part_that_tells_nothing_changes_nothing():
    silent = QuantizerSpec(bits=1, dim=1, clip=1e-12, scale=1.0)
    with_it = Session((Part(SMALL, 1), Part(FINE, 1), Part(silent, 1000))).epsilon(1e-5)
    assert with_it == Session((Part(SMALL, 1), Part(FINE, 1))).epsilon(1e-5)
    assert Session((Part(silent, 5),)).epsilon(1e-5).upper == 0
    alone = Session((Part(silent, 5),), (Gaussian(1.0),)).epsilon(1e-5)
    assert gaussian_delta(alone.upper, 1) <= mpmath.mpf(1e-5) <= gaussian_delta(alone.lower, 1)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.floats(2, 40), st.floats(2, 40))
def test_a_mixed_session_lies_between_those_of_its_noisiest_and_clearest_part(first, second, sends, one, other):
    specs = [QuantizerSpec(bits=3, dim=2, clip=1.0, scale=max(scale, 1.2)) for scale in sorted((one, other))]
    mixed = Session((Part(specs[0], first, sends), Part(specs[1], second))).epsilon(1e-6)
    tokens = first * sends + second
    clear, noisy = (Session((Part(spec, tokens),)).epsilon(1e-6) for spec in specs)
    assert mixed.upper >= noisy.lower
    assert mixed.lower <= clear.upper
    assert mixed.upper <= clear.upper * (1 + 1e-4) + 1e-6


@pytest.mark.parametrize("noise", [5.0, 1.0, 0.5])
def test_gaussian_noise_beside_a_quantizer_against_the_sum_of_integrals(noise):
    # delta(epsilon) of the two together is the mean over counts of the Gaussian's delta at epsilon less their loss.
    counts = binomial(SMALL, 15)
    session = Session((Part(SMALL, 1),), (Gaussian(noise),))
    assert not session.exact

    def delta(epsilon):
        return mpmath.fsum(mass * gaussian_delta(epsilon - loss, 1 / mpmath.mpf(noise)) for loss, mass in counts)

    for epsilon in (0.0, 1.0, 8.0):
        bound = session.delta(epsilon)
        assert oracle.real(bound.lower) <= delta(epsilon) <= oracle.real(bound.upper)
        assert bound.upper <= float(delta(epsilon)) * (1 + 1e-2)
    for goal in (1e-2, 1e-5, 1e-12, 1e-60):
        bound = session.epsilon(goal)
        assert delta(bound.upper) <= oracle.real(goal) <= delta(bound.lower)
        assert bound.upper - bound.lower <= 0.02
    assert session.pure_epsilon.upper == math.inf
    assert session.adjacency.endswith("and the same person's data in the other mechanisms")


def test_randomised_response_and_failures_beside_a_quantizer_against_all_outcomes():
    session = Session((Part(SMALL, 1),), (Guaranteed(0.7, delta=1e-6, times=2), Guaranteed(0.2)))
    chances = [(mpmath.mpf(e), 1 / (1 + mpmath.exp(-mpmath.mpf(e)))) for e in (0.7, 0.7, 0.2)]
    points = binomial(SMALL, 15)
    for loss, high in chances:
        points = [(at + way * loss, mass * share) for at, mass in points for way, share in ((1, high), (-1, 1 - high))]
    failure = 1 - (1 - mpmath.mpf(1e-6)) ** 2

    def delta(epsilon):
        finite = mpmath.fsum(-mpmath.expm1(epsilon - loss) * mass for loss, mass in points if loss > epsilon)
        return failure + (1 - failure) * finite

    for epsilon in (0.0, 2.0, 7.0):
        assert delta(epsilon) <= oracle.real(session.delta(epsilon).upper)
        assert session.delta(epsilon).upper <= float(delta(epsilon)) * (1 + 1e-6)
    bound = session.epsilon(1e-5)
    assert delta(bound.upper) <= oracle.real(1e-5)
    assert delta(bound.upper - 1e-3) > oracle.real(1e-5)
    with pytest.raises(UserError, match=r"Expected delta > 2e-06, with which the other mechanisms may fail"):
        session.epsilon(1e-6)
    pure = Session((Part(SMALL, 1),), (Guaranteed(0.7, times=3),)).pure_epsilon
    assert pure.estimate == pytest.approx(float(max(loss for loss, _ in binomial(SMALL, 15))) + 2.1, rel=1e-14)


def _composed_in_a_loop(pld, session, safe):
    """dp_accounting's own composition of one distribution for each token that is sent."""
    whole = pld.identity(1e-3, pessimistic_estimate=safe)
    for part in session.parts:
        trials, p = part.spec.dim * part.spec.trials, chance(part.spec)
        masses = [float(mpmath.log(oracle.mass(x, trials, p))) for x in range(trials + 1)]
        token = pld.from_two_probability_mass_functions(
            dict(enumerate(reversed(masses))), dict(enumerate(masses)), safe, value_discretization_interval=1e-3
        )
        for _ in range(part.tokens * part.sends):
            whole = whole.compose(token, tail_mass_truncation=0)
    return whole


@pytest.mark.parametrize(
    "parts",
    [(Part(SMALL, 1, sends=3), Part(FINE, 2)), (Part(SPEC, 2), Part(FINE, 1)), (Part(SMALL, 4), Part(SPEC, 1))],
)
def test_sessions_agree_with_dp_accounting_composed_in_a_loop(pld, parts):
    session = Session(parts)
    high, low = (_composed_in_a_loop(pld, session, safe) for safe in (True, False))
    rounding = 1e-9
    for epsilon in (0.0, 1.0, 5.0, 15.0):
        bound = session.delta(epsilon)
        assert low.get_delta_for_epsilon(epsilon) - rounding <= bound.upper
        assert bound.lower <= high.get_delta_for_epsilon(epsilon) + rounding
        assert bound.upper <= high.get_delta_for_epsilon(epsilon) + rounding  # and tighter
    for delta in (0.01, 1e-5):
        assert low.get_epsilon_for_delta(delta) <= session.epsilon(delta).upper <= high.get_epsilon_for_delta(delta)


@pytest.mark.parametrize(
    "run", [pytest.param(DpSgd(0.7, 0.002, 2000), marks=pytest.mark.slow), DpSgd(3.0, 0.2, 50)], ids=["fine", "coarse"]
)
def test_a_training_run_beside_a_quantizer_agrees_with_dp_accounting(pld, run):
    session = Session((Part(SMALL, 2),), (run, Gaussian(4.0, releases=3)))
    quantizer, interval = Session(session.parts).privacy_loss_distribution(1e-4)
    training = pld.from_gaussian_mechanism(
        run.noise_multiplier, sampling_prob=run.sample_rate, value_discretization_interval=interval
    ).self_compose(run.steps)
    noise = pld.from_gaussian_mechanism(4.0 / math.sqrt(3), value_discretization_interval=interval)
    whole = quantizer.compose(training).compose(noise)
    for delta in (1e-3, 1e-6):
        bound = session.epsilon(delta)
        theirs = whole.get_epsilon_for_delta(delta)  # an upper bound, a little above the truth
        assert bound.lower <= theirs
        assert bound.upper == pytest.approx(theirs, rel=5e-3)
        taken = Session(session.parts, (Gaussian(4.0, releases=3), PrivacyLoss(training))).epsilon(delta)
        assert taken.upper == pytest.approx(theirs, rel=5e-3)
        assert taken.lower <= theirs
    assert session.delta(2.0).upper == pytest.approx(whole.get_delta_for_epsilon(2.0), rel=2e-2)


def test_both_directions_of_a_mechanism_that_is_not_symmetric_count(pld):
    # With the example in the second input the loss of one step cannot exceed -ln(1 - q); in the first it can.
    run = DpSgd(0.5, 0.3, 2)
    bound = Session((Part(FINE, 1),), (run,)).epsilon(1e-6)
    step = pld.from_gaussian_mechanism(0.5, sampling_prob=0.3, value_discretization_interval=1e-4)
    assert bound.upper > step.self_compose(2)._pmf_remove.get_epsilon_for_delta(1e-6) - 0.01
    swapped = pld.PrivacyLossDistribution(step._pmf_add, step._pmf_remove)
    other = Session((Part(FINE, 1),), (PrivacyLoss(swapped, times=2),)).epsilon(1e-6)
    assert other.upper == pytest.approx(bound.upper, rel=1e-3)


def test_randomised_response_composed_in_a_loop_agrees_with_its_guarantee(pld):
    # dp_accounting's accountant counts such an event once, whatever its count: the distributions compose rightly.
    one = pld.from_randomized_response(0.5, 2, value_discretization_interval=1e-4)
    loop = one
    for _ in range(9):
        loop = loop.compose(one)
    epsilon = math.log(0.75 / 0.25)
    for session in (
        Session((Part(FINE, 1),), (Guaranteed(epsilon, times=10),)),
        Session((Part(FINE, 1),), (PrivacyLoss(one, times=10),)),
        Session((Part(FINE, 1),), (PrivacyLoss(loop),)),
    ):
        expected = Session((Part(FINE, 1),)).privacy_loss_distribution(1e-4)[0].compose(loop)
        assert session.epsilon(1e-5).upper == pytest.approx(expected.get_epsilon_for_delta(1e-5), abs=2e-3)


def test_a_distribution_for_dp_accounting_bounds_the_exact_curve(pld):
    session = Session((Part(SPEC, 3),))
    law, interval = session.privacy_loss_distribution()
    assert interval == 1e-3
    for epsilon in np.linspace(0, 20, 41):
        truth, theirs = session.delta(float(epsilon)), law.get_delta_for_epsilon(float(epsilon))
        assert theirs >= truth.lower
        assert theirs <= truth.upper * (1 + 1e-4) + 1e-17
    for delta in (0.1, 1e-5, 1e-12):
        assert session.epsilon(delta).lower <= law.get_epsilon_for_delta(delta)
        assert law.get_epsilon_for_delta(delta) == pytest.approx(session.epsilon(delta).upper, rel=1e-5)
    mixed = Session((Part(SMALL, 1), Part(FINE, 1)))
    law, _ = mixed.privacy_loss_distribution()
    assert mixed.epsilon(1e-5).lower <= law.get_epsilon_for_delta(1e-5)
    assert law.get_epsilon_for_delta(1e-5) == pytest.approx(mixed.epsilon(1e-5).upper, abs=1e-3)


def test_a_long_session_gets_a_coarser_grid(pld):
    session = Session((Part(SPEC, 20_000),))
    law, interval = session.privacy_loss_distribution()
    assert interval > 1e-3
    epsilon = session.epsilon(1e-5).upper  # dp_accounting's own epsilon is coarse where e^-loss underflows
    assert session.delta(epsilon).lower <= law.get_delta_for_epsilon(epsilon) <= 1e-5 * (1 + 1e-3)
    assert session.epsilon(1e-5).lower <= law.get_epsilon_for_delta(1e-5)
    with pytest.raises(UserError, match=r"Expected interval >= 0.0\d+, got interval=0.001"):
        session.privacy_loss_distribution(1e-3)


def test_without_dp_accounting_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(UserError, match=r"pip install 'del-audit\[dp\]'"):
        Session((Part(SMALL, 1),)).privacy_loss_distribution()


def test_a_tiny_delta_beside_gaussian_noise_is_still_enclosed():
    bound = Session((Part(SMALL, 1),), (Gaussian(2.0),)).delta(60.0)
    truth = mpmath.fsum(mass * gaussian_delta(60 - loss, 0.5) for loss, mass in binomial(SMALL, 15))
    assert truth < 1e-300
    assert truth <= oracle.real(bound.upper) <= mpmath.mpf("1e-270")


def test_composition_of_the_same_trials_is_what_a_mixed_session_quotes():
    session = Session((Part(SMALL, 2), Part(FINE, 4)))
    p, q = (float(chance(spec)) for spec in (SMALL, FINE))
    assert session.epsilon(1e-5) == Composition([Trials(30, p, 1 - p), Trials(36, q, 1 - q)]).epsilon(1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Session(()), "Expected a session of at least one part, got parts=()."),
        (lambda: Session.of_prompts(SPEC, []), "Expected a session of at least one part, got parts=()."),
        (lambda: Part(SPEC, 0), "Expected tokens to be a whole number >= 1, got tokens=0."),
        (lambda: Part(SPEC, 1.0), "Expected tokens to be a whole number >= 1, got tokens=1.0."),
        (lambda: Part(SPEC, 1, sends=0), "Expected sends to be a whole number >= 1, got sends=0."),
        (lambda: Part(SPEC, True), "Expected tokens to be a whole number >= 1, got tokens=True."),
        (
            lambda: Session((Part(SPEC, 10**7), Part(SMALL, 10**7, sends=50))),
            "Expected at most 10000000000 trials (tokens x sends x dim x (2^bits - 1), over all parts), "
            "got 10200000000.",
        ),
        (lambda: Session((Part(SPEC, 1),)).epsilon(1.0), "Expected delta in (0, 1), got delta=1.0."),
        (lambda: Session((Part(SPEC, 1),)).epsilon("x"), "Expected delta in (0, 1), got delta='x'."),
        (
            lambda: Session((Part(SPEC, 1),)).delta(math.nan),
            "Expected epsilon to be a finite number >= 0, got epsilon=nan.",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(UserError) as raised:
        call()
    assert str(raised.value) == words
