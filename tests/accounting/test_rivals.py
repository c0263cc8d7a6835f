import dataclasses
import itertools
import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

from del_audit.accounting import Accountant
from del_audit.accounting._metric_noise import loss_above, loss_below
from del_audit.accounting._random_radius import log_whole_list_chance
from del_audit.accounting._word_rows import worst_words
from del_audit.accounting.other_mechanisms import Gaussian as PlainGaussian
from del_audit.accounting.rivals import calibrate_rival, rival_guarantee
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import (
    CusText,
    CusTextSpec,
    Exponential,
    ExponentialSpec,
    GaussianSpec,
    Metric,
    MetricSpec,
    Points,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
    SanText,
    SanTextSpec,
)
from mechanisms.rivals.custext import nearest_groups
from mechanisms.rivals.gaussian import cell_law
from mechanisms.rivals.metric import noise
from mechanisms.rivals.santext import rarest
from mechanisms.spec import QuantizerSpec

POINTS = Points.of(np.random.default_rng(2).standard_normal((30, 3)))
PRIOR = np.arange(1.0, 31) / np.arange(1.0, 31).sum()


def hockey_stick(p, q, epsilon):
    return float(np.maximum(p - np.exp(epsilon) * q, 0).sum())


def epsilon_of(p, q, delta):
    """Returns the least epsilon >= 0 with delta(epsilon) <= delta, by bisection of the sum over all outcomes."""
    low, high = 0.0, 200.0
    if hockey_stick(p, q, 0.0) <= delta:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if hockey_stick(p, q, middle) > delta else (low, middle)
    return high


def product(laws):
    result = np.ones(1)
    for law in laws:
        result = np.multiply.outer(result, law).ravel()
    return result


@pytest.mark.parametrize("words", [2, 3, 49152])
@pytest.mark.parametrize("epsilon", [0.5, 6.0, 30.0])
def test_theorem_18_randomised_response_of_one_token_is_exact(words, epsilon):
    spec = RandomizedResponseSpec.from_epsilon(words, epsilon)
    with mpmath.workdps(60):
        kept, other = mpmath.mpf(spec.kept) / 2**64, mpmath.mpf(spec.weight) / 2**64
        pure, at_delta = mpmath.log(kept / other), mpmath.log((kept - mpmath.mpf(1e-5)) / other)
    found = rival_guarantee(spec, 1e-5)
    assert found.pure_epsilon.lower <= pure <= found.pure_epsilon.upper <= epsilon * (1 + 1e-12)
    assert found.pure_epsilon.estimate == pytest.approx(epsilon, rel=1e-3)
    assert found.epsilon.lower <= at_delta <= found.epsilon.upper
    assert found.epsilon.estimate == pytest.approx(float(at_delta), rel=1e-12)
    assert found.total_variation.lower <= kept - other <= found.total_variation.upper


@pytest.mark.parametrize("words", [2, 5])
@pytest.mark.parametrize("tokens", [2, 4, 7])
@pytest.mark.parametrize("delta", [0.2, 1e-3, 1e-8])
def test_theorem_18_several_tokens_by_enumeration(words, tokens, delta):
    spec = RandomizedResponseSpec.from_epsilon(words, 1.3)
    law = np.full((2, words), spec.weight / 2**64)
    law[0, 0] = law[1, 1] = spec.kept / 2**64
    truth = epsilon_of(product([law[0]] * tokens), product([law[1]] * tokens), delta)
    found = rival_guarantee(spec, delta, "phrase", tokens).epsilon
    assert found.lower <= truth * (1 + 1e-9) + 1e-9
    assert truth <= found.upper * (1 + 1e-9)
    assert found.upper <= truth + 1e-3


def test_randomised_response_that_tells_nothing_costs_nothing():
    found = rival_guarantee(RandomizedResponseSpec(2, 1 << 63), 1e-5, "prompt", 100)
    assert (found.epsilon.upper, found.pure_epsilon.estimate, found.total_variation.upper) == (0, 0, 0)


GRIDS = [
    GaussianSpec(bits=1, dim=3, clip=1.0, sigma=1.0, reach=1.0),
    GaussianSpec(bits=2, dim=3, clip=1.0, sigma=0.7, reach=2.0),
    GaussianSpec(bits=3, dim=2, clip=0.05, sigma=0.02, reach=0.05),
    GaussianSpec(bits=4, dim=2, clip=0.05, sigma=0.2, reach=0.4),
]


@pytest.mark.parametrize("spec", GRIDS)
@pytest.mark.parametrize("delta", [0.1, 1e-3, 1e-6])
def test_theorem_19_encloses_the_law_that_is_sampled(spec, delta):
    p, q = cell_law(spec, np.array([spec.clip, -spec.clip])) / 2.0**62
    truth = epsilon_of(product([p] * spec.dim), product([q] * spec.dim), delta)
    found = rival_guarantee(spec, delta).epsilon
    assert found.lower <= truth * (1 + 1e-9) + 1e-9
    assert truth <= found.upper * (1 + 1e-9)
    assert found.upper <= truth + 2e-3


@pytest.mark.parametrize("spec", GRIDS)
def test_theorem_19_no_two_codes_are_easier_to_tell_apart_than_opposite_corners(spec):
    generator = np.random.default_rng(0)
    values = np.append(generator.uniform(-spec.clip, spec.clip, 60), [spec.clip, -spec.clip, 0.0])
    laws = cell_law(spec, values) / 2.0**62
    for epsilon in (0.0, 0.3, 1.0, 3.0):
        worst = hockey_stick(laws[-3], laws[-2], epsilon)
        pairs = [hockey_stick(p, q, epsilon) for p, q in itertools.permutations(laws, 2)]
        assert max(pairs) <= worst + 2.0**-22


@pytest.mark.parametrize("spec", GRIDS)
def test_theorem_19_is_below_gaussian_noise_without_a_grid(spec):
    """The grid is post-processing: the analytic Gaussian mechanism (Balle and Wang) has the larger delta."""
    mu = 2 * spec.clip * math.sqrt(spec.dim) / spec.sigma
    for delta in (0.1, 1e-3, 1e-6):
        epsilon = rival_guarantee(spec, delta).epsilon.lower
        whole = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        assert delta <= whole * (1 + 1e-3)
    assert PlainGaussian(spec.sigma / (2 * spec.clip * math.sqrt(spec.dim))).releases == 1


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("sigma", [1e-3, 0.05, 10.0])
def test_cell_laws_add_up_and_no_cell_is_impossible(bits, sigma):
    spec = GaussianSpec.of(bits, 1, 0.05, sigma)
    values = np.linspace(-0.2, 0.2, 41)
    law = cell_law(spec, values)
    assert (law.sum(axis=-1) == 1 << 62).all()
    assert (law >= 1 << 24).all()
    assert np.array_equal(law[values > 0.0501], np.broadcast_to(law[-1], law[values > 0.0501].shape))
    edges = np.concatenate([[-np.inf], spec.edges, [np.inf]])
    exact = np.diff(norm.cdf((edges - np.clip(values, -0.05, 0.05)[:, None]) / sigma))
    assert np.abs(law / 2.0**62 - exact).max() < 2.0**-28


@pytest.mark.parametrize(("dim", "distance"), [(1, 2.0), (2, 3.0), (18, 40.0)])
def test_theorem_20_losses_against_sixty_digits(dim, distance):
    for share in (-0.5, 0.9):
        s = mpmath.mpf(share) * distance
        with mpmath.workdps(30):
            half = mpmath.mpf(dim - 1) / 2

            def mean(start, chance, half=half):
                def integrand(r):
                    inside = min(mpmath.mpf(1), max(mpmath.mpf(0), chance(r)))
                    angle = mpmath.betainc(half, half, 0, inside, regularized=True) if dim > 1 else mpmath.mpf(1) / 2
                    return mpmath.exp((dim - 1) * mpmath.log(r) - r - mpmath.loggamma(dim)) * mpmath.re(angle)

                return mpmath.quad(integrand, [start, start + dim / 4, start + dim, start + 3 * dim, mpmath.inf])

            low, high = (distance - s) / 2, (distance + s) / 2
            above = mpmath.gammainc(dim, 0, low, regularized=True)
            above += mean(low, lambda r, s=s: (distance - s) * (distance + s + 2 * r) / (4 * r * distance))
            below = mean(high, lambda r, s=s: (distance - s) * (2 * r - distance - s) / (4 * r * distance))
        assert loss_above(np.array([float(s)]), distance, dim)[0] == pytest.approx(float(above), rel=1e-9)
        assert loss_below(np.array([float(s)]), distance, dim)[0] == pytest.approx(float(below), rel=1e-9)


@pytest.mark.parametrize("delta", [0.3, 1e-2, 1e-5])
def test_theorem_20_in_one_dimension_is_laplace_noise(delta):
    """delta(epsilon) = 1 - e^((epsilon - D) / 2) for a shift of D nats."""
    found = rival_guarantee(MetricSpec.of(8, 1, 1.0, 1.5), delta).epsilon.upper
    truth = 3.0 + 2 * math.log1p(-delta)
    assert truth <= found <= truth + 1e-4


@pytest.mark.parametrize(("dim", "eta"), [(2, 1.0), (12, 4.0)])
def test_theorem_20_against_the_sampler_itself(dim, eta):
    """Delta at an epsilon, measured on drawn noise: within five standard errors of the one accounted for."""
    drawn = noise(100_000, dim, eta, SimulatedRandomness(1, "metric"))
    shift = np.zeros(dim)
    shift[0] = 2.0
    loss = eta * (np.linalg.norm(drawn - shift, axis=1) - np.linalg.norm(drawn, axis=1))
    for epsilon in (0.2 * eta, 1.2 * eta):
        gain = np.maximum(-np.expm1(epsilon - loss), 0)
        measured, error = gain.mean(), gain.std() / math.sqrt(len(gain))
        found = rival_guarantee(MetricSpec.of(8, dim, 1.0, eta), float(measured)).epsilon.upper
        near = [np.maximum(-np.expm1(found + side - loss), 0).mean() for side in (-1e-2 * eta, 1e-2 * eta)]
        assert near[1] - 5 * error <= measured <= near[0] + 5 * error
        assert found == pytest.approx(epsilon, rel=0.02)


def test_the_radius_is_drawn_once_a_vector():
    """Norms follow Gamma(dim), not one radius a coordinate; directions have no preference."""
    drawn = noise(100_000, 16, 1.0, SimulatedRandomness(0, "radius"))
    norms = np.linalg.norm(drawn, axis=1)
    assert norms.mean() == pytest.approx(16, abs=5 * 4 / math.sqrt(100_000))
    assert norms.std() == pytest.approx(4, rel=0.02)
    each = drawn / norms[:, None]
    assert np.abs(each.mean(axis=0)).max() < 5 / math.sqrt(16 * 100_000)
    assert each.T @ each / 100_000 == pytest.approx(np.eye(16) / 16, abs=5e-3)


def test_metric_over_a_vocabulary_costs_no_more_than_its_ball():
    spec = MetricSpec.of(8, 3, 2.0, 1.5)
    mechanism = Metric(spec, POINTS.vectors)
    clipped = mechanism.points
    farthest = max(np.linalg.norm(a - b) for a in clipped for b in clipped)
    assert np.linalg.norm(clipped, axis=1).max() <= 2.0 * (1 + 1e-12)
    whole, ball = rival_guarantee(mechanism), rival_guarantee(spec)
    assert whole.pure_epsilon.upper == pytest.approx(1.5 * farthest, rel=1e-5)
    assert whole.epsilon.upper <= ball.epsilon.upper
    assert ball.pure_epsilon.upper == pytest.approx(6.0, rel=1e-9)


def exact_pure(rows):
    return max(np.log(p / q).max() for p, q in itertools.permutations(rows, 2))


@pytest.mark.parametrize(
    "mechanism",
    [
        Exponential(ExponentialSpec.over(POINTS, 7.0), POINTS),
        Exponential(ExponentialSpec.over(POINTS, 7.0, scale=1.0), POINTS),
        SanText(SanTextSpec.over(POINTS, 2.0), POINTS),
    ],
)
def test_theorem_21_column_ends_give_the_largest_ratio_of_all_pairs(mechanism):
    rows = np.exp(mechanism.log_channel(np.arange(30)))
    worst = worst_words(mechanism)
    assert worst.ratio == pytest.approx(exact_pure(rows), rel=1e-12)
    assert worst.error < 1e-5
    found = rival_guarantee(mechanism, 1e-6)
    truth = max(epsilon_of(p, q, 1e-6) for p, q in itertools.permutations(rows, 2))
    assert found.epsilon.lower <= truth <= found.epsilon.upper <= found.pure_epsilon.upper
    assert found.epsilon.upper == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize("epsilon", [0.5, 7.0, 60.0, 300.0])
def test_theorem_21_what_holds_for_any_points_is_above_what_holds_for_these(epsilon):
    spec = ExponentialSpec.over(POINTS, epsilon)
    whole, alone = rival_guarantee(Exponential(spec, POINTS)), rival_guarantee(spec)
    assert whole.epsilon.upper <= alone.epsilon.upper
    assert alone.pure_epsilon.upper <= epsilon * (1 + 1e-9) + 1e-9
    assert whole.claimed_epsilon == epsilon


@pytest.mark.parametrize("tokens", [2, 3])
def test_theorem_21_composed_tokens_are_enclosed(tokens):
    points = Points.of(POINTS.vectors[:5])
    mechanism = Exponential(ExponentialSpec.over(points, 3.0), points)
    rows = np.exp(mechanism.log_channel(np.arange(5)))
    truth = max(
        epsilon_of(product([p] * tokens), product([q] * tokens), 1e-3) for p, q in itertools.permutations(rows, 2)
    )
    found = rival_guarantee(mechanism, 1e-3, "phrase", tokens).epsilon
    assert found.lower <= truth <= found.upper
    assert found.lower >= 0.9 * truth


def test_theorem_22_santext_plus_guarantees_nothing_below_the_share_it_keeps():
    sensitive = rarest(PRIOR, 0.6)
    assert sensitive.sum() == 18
    assert sensitive[:18].all()
    mechanism = SanText(SanTextSpec.plus(POINTS, 2.0, sensitive, 0.4), POINTS, sensitive)
    found = rival_guarantee(mechanism, 1e-5)
    assert found.epsilon.upper == found.pure_epsilon.upper == math.inf
    rows = np.exp(mechanism.log_channel(np.arange(30)))
    assert found.within is not None
    assert found.within.upper == pytest.approx(exact_pure(rows[:18, :18]), rel=1e-3)
    assert found.total_variation.lower == pytest.approx(0.6, rel=1e-5)
    above = rival_guarantee(mechanism, 0.61)
    truth = max(epsilon_of(p, q, 0.61) for p, q in itertools.permutations(rows, 2))
    assert truth <= above.epsilon.upper < math.inf
    assert rival_guarantee(mechanism, 0.61, "phrase", 2).epsilon.upper == math.inf


def test_theorem_22_custext_guarantees_nothing_between_groups():
    groups = nearest_groups(POINTS, PRIOR, 4)
    mechanism = CusText(CusTextSpec.over(POINTS, groups, 3.0), POINTS, groups)
    rows = np.exp(mechanism.log_channel(np.arange(30)))
    assert np.array_equal(rows > 0, groups[:, None] == groups)
    found = rival_guarantee(mechanism)
    assert found.epsilon.upper == math.inf
    assert found.total_variation.lower == 1
    inside = max(exact_pure(rows[np.ix_(members, members)]) for members in (groups == g for g in range(8)))
    assert found.within is not None
    assert found.within.upper == pytest.approx(inside, rel=1e-3)
    assert inside <= 3.0
    assert rival_guarantee(mechanism.spec).within.upper >= found.within.upper


def test_groups_are_the_nearest_that_are_left_most_frequent_word_first():
    line = Points.of(np.array([[0.0], [1.0], [1.1], [5.0], [1.3], [9.0], [1.2]]))
    groups = nearest_groups(line, np.array([0.1, 0.3, 0.05, 0.2, 0.1, 0.1, 0.15]), 3)
    assert groups[1] == groups[2] == groups[6] == 0
    assert groups[3] == groups[4] == groups[5] == 1
    assert groups[0] == 2


@pytest.mark.parametrize("rate", [0.5, 2.0, 8.0, 20.0])
def test_theorem_22_rantext_list_is_whole_at_least_as_often_as_stated(rate):
    mechanism = RanText(RanTextSpec.over(POINTS, 6.0, rate), POINTS)
    stated = math.exp(log_whole_list_chance(mechanism.scales, POINTS.diameter_bound))
    radii = mechanism.radii(100_000, SimulatedRandomness(0, "radii"))
    measured = (radii > POINTS.diameter_bound).mean()
    assert 0 <= stated <= measured + 5 * math.sqrt(measured * (1 - measured) / 100_000) + 5e-5


def test_theorem_22_rantext_list_of_one_coordinate_and_of_many():
    """One coordinate: e^(-D / b). Many: nearly always longer than half its typical length."""
    assert log_whole_list_chance([2.0], 10.0) == pytest.approx(-5.0, abs=1e-6)
    assert log_whole_list_chance(np.ones(576), 0.5 * math.sqrt(2 * 576)) > -1e-3
    assert -120 < log_whole_list_chance(np.full(576, 0.1), 6.0) < -30
    assert log_whole_list_chance([0.0], 1.0) == -math.inf


def test_theorem_22_rantext_bound_is_above_its_law():
    points = Points.of(POINTS.vectors[:8])
    mechanism = RanText(RanTextSpec.over(points, 2.0, rate=3.0), points)
    rows = np.exp(mechanism.log_channel(np.arange(8), mechanism.radii(5_000, SimulatedRandomness(0, "law"))))
    found = rival_guarantee(mechanism)
    assert found.claimed_epsilon == 2.0
    assert 2.0 < exact_pure(rows) < found.pure_epsilon.upper < math.inf
    assert rival_guarantee(mechanism.spec).epsilon.upper == math.inf


PARTS = {
    "randomized response": {"words": 49152},
    "gaussian": {"bits": 4, "dim": 18, "clip": 0.05},
    "metric": {"bits": 8, "dim": 6, "radius": 0.2},
    "exponential": {"points": POINTS},
    "santext": {"points": POINTS},
    "custext": {"points": POINTS, "groups": nearest_groups(POINTS, PRIOR, 5)},
    "rantext": {"points": POINTS},
}


def mechanism_of(spec):
    match spec:
        case ExponentialSpec():
            return Exponential(spec, POINTS)
        case SanTextSpec():
            return SanText(spec, POINTS)
        case CusTextSpec():
            return CusText(spec, POINTS, PARTS["custext"]["groups"])
        case RanTextSpec():
            return RanText(spec, POINTS)
    return spec


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("epsilon", [9.0])
def test_calibration_meets_the_target_from_below_and_nearly(kind, epsilon):
    spec = calibrate_rival(kind, epsilon, 1e-5, **PARTS[kind])
    assert spec.kind == kind
    found = rival_guarantee(mechanism_of(spec), 1e-5)
    achieved = (found.within or found.epsilon).upper
    assert achieved <= epsilon
    assert achieved >= epsilon * (0.3 if kind in ("exponential", "rantext") else 0.998)


def test_exact_calibration_of_the_exponential_mechanism_spends_what_is_paid_for():
    spec = calibrate_rival("exponential", 8.0, 1e-5, points=POINTS, exact=True)
    assert 0.998 * 8 <= rival_guarantee(Exponential(spec, POINTS), 1e-5).epsilon.upper <= 8.0
    assert spec.epsilon > 8.0


def test_randomised_response_beyond_what_64_bits_resolve_stays_on_the_safe_side():
    spec = calibrate_rival("randomized response", 160.0, 1e-5, words=49152)
    assert spec.weight == 1
    assert rival_guarantee(spec).epsilon.upper < 44.4


@pytest.mark.parametrize(
    ("arguments", "parts", "reason"),
    [
        (("nothing", 8.0), {}, "kind to be one of"),
        (
            ("gaussian", 8.0),
            {"bits": 4},
            r"gaussian needs \(bits, dim, clip\), got bits: missing .* 'dim'",
        ),
        (("rantext", 8.0), {"words": 4}, r"rantext needs \(points, rate\), got words: missing .*'points'"),
        (("gaussian", -1.0), {}, "epsilon > 0"),
        (("gaussian", 1.0, 0.0), {}, "delta in"),
        (("rantext", 0.1), {"points": POINTS}, "least that this mechanism reaches"),
        (("randomized response", 1e-14), {"words": 49152}, "epsilon >="),
    ],
)
def test_calibration_refuses_what_cannot_be_met(arguments, parts, reason):
    with pytest.raises(UserError, match=reason):
        calibrate_rival(*arguments, **parts)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((RandomizedResponseSpec(9, 5), 0.0), "delta in"),
        ((RandomizedResponseSpec(9, 5), True), "delta in"),
        ((RandomizedResponseSpec(9, 5), 1e-5, "token", 2), "tokens=1"),
        ((RandomizedResponseSpec(9, 5), 1e-5, "word"), "unit to be one of"),
        (("gaussian",), "mechanism or its spec"),
    ],
)
def test_guarantee_refuses_what_it_does_not_know(arguments, reason):
    with pytest.raises(UserError, match=reason):
        rival_guarantee(*arguments)


def test_del_itself_has_the_accountants_figures():
    spec = QuantizerSpec.from_mu(4, 18, 0.05, 5)
    found = rival_guarantee(spec, 1e-5, "prompt", 7)
    assert found.epsilon == Accountant(spec).epsilon(1e-5, "prompt", 7)
    assert found.mechanism == "del"
    assert found.adjacency == "any two prompts of 7 tokens, sent once"


def test_guarantee_as_a_dictionary_has_every_field():
    found = rival_guarantee(RandomizedResponseSpec.from_epsilon(9, 2.0)).to_dict()
    assert list(found) == [field.name for field in dataclasses.fields(rival_guarantee(RandomizedResponseSpec(9, 5)))]
    assert set(found["epsilon"]) == {"lower", "estimate", "upper"}


def test_neither_the_figures_nor_the_rivals_import_torch():
    command = "import sys, del_audit.accounting.rivals, mechanisms.rivals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
