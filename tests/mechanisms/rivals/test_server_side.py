"""What servers make of messages: the channel that decoders and attacks use is the released law; decoding is Bayes'."""

import numpy as np
import pytest

from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import (
    CusText,
    CusTextSpec,
    Exponential,
    ExponentialSpec,
    Gaussian,
    GaussianSpec,
    Metric,
    MetricSpec,
    Points,
    RandomizedResponse,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
    SanText,
    SanTextSpec,
)
from mechanisms.rivals import _points as points_module
from mechanisms.rivals._decoding import decode
from mechanisms.rivals.custext import nearest_groups
from mechanisms.rivals.gaussian import cell_law
from mechanisms.rivals.santext import rarest

WORDS = 40
GENERATOR = np.random.default_rng(8)
POINTS = Points.of(GENERATOR.standard_normal((WORDS, 4)).astype(np.float32))
TABLE = GENERATOR.standard_normal((WORDS, 6)).astype(np.float32)
PRIOR = 1 / (1 + GENERATOR.permutation(WORDS))
PRIOR = PRIOR / PRIOR.sum()
SENSITIVE = rarest(PRIOR, 0.7)
GROUPS = nearest_groups(POINTS, PRIOR, 6)


def word_mechanisms(decoding):
    return [
        RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 3.0), TABLE, PRIOR, decoding),
        Exponential(ExponentialSpec.over(POINTS, 9.0), POINTS, TABLE, PRIOR, decoding),
        SanText(SanTextSpec.over(POINTS, 2.0), POINTS, None, TABLE, PRIOR, decoding),
        SanText(SanTextSpec.plus(POINTS, 2.0, SENSITIVE, 0.3), POINTS, SENSITIVE, TABLE, PRIOR, decoding),
        CusText(CusTextSpec.over(POINTS, GROUPS, 3.0), POINTS, GROUPS, TABLE, PRIOR, decoding),
    ]


def names(mechanisms):
    return [mechanism.spec.kind for mechanism in mechanisms]


by_decoding = pytest.mark.parametrize("index", range(5), ids=lambda index: names(word_mechanisms("plain"))[index])


@by_decoding
def test_rows_of_the_channel_add_up_and_columns_are_the_same_law(index):
    mechanism = word_mechanisms("plain")[index]
    every = np.arange(WORDS)
    rows = mechanism.log_channel(every)
    assert np.exp(rows).sum(axis=1) == pytest.approx(np.ones(WORDS), rel=1e-12)
    columns = np.concatenate([block for _, block in mechanism.scores(every)])
    assert np.exp(columns.T) == pytest.approx(np.exp(rows), rel=1e-5, abs=1e-12)


@by_decoding
def test_embeddings_are_bayes_rule_over_the_channel(index):
    mean, likely, plain = (word_mechanisms(decoding)[index] for decoding in ("posterior-mean", "most-likely", "plain"))
    message = mean.release(np.arange(WORDS).repeat(3).tolist(), SimulatedRandomness(1))
    observed = mean.observed(message)
    joint = PRIOR[:, None] * np.exp(mean.log_channel(np.arange(WORDS)))[:, observed]
    posterior = joint / joint.sum(axis=0)
    assert mean.embeddings(message) == pytest.approx((posterior.T @ TABLE).astype(np.float32), abs=1e-5)
    assert np.array_equal(likely.embeddings(message), TABLE[joint.argmax(axis=0)])
    assert np.array_equal(plain.embeddings(message), TABLE[observed])


@by_decoding
def test_memory_is_bounded_by_working_in_blocks(index, monkeypatch):
    mechanism = word_mechanisms("posterior-mean")[index]
    tokens = GENERATOR.integers(0, WORDS, 50).tolist()
    whole = mechanism.embeddings(mechanism.release(tokens, SimulatedRandomness(2)))
    monkeypatch.setattr(points_module, "BLOCK_BYTES", 8 * WORDS * 7)
    monkeypatch.setattr("mechanisms.rivals._rows.BLOCK_BYTES", 8 * WORDS * 7)
    again = word_mechanisms("posterior-mean")[index]
    assert again.embeddings(mechanism.release(tokens, SimulatedRandomness(2))) == pytest.approx(whole, abs=1e-6)


def test_the_closed_form_of_randomised_response_is_the_general_one():
    mechanism = word_mechanisms("posterior-mean")[0]
    message = mechanism.release(list(range(WORDS)), SimulatedRandomness(3))
    general = decode(mechanism, mechanism.observed(message), np.log(PRIOR), TABLE, "posterior-mean")
    assert mechanism.embeddings(message) == pytest.approx(general, abs=1e-5)


def test_gaussian_scores_are_the_cell_laws():
    spec = GaussianSpec.of(3, 4, 1.0, 0.7)
    mechanism = Gaussian(spec, POINTS.vectors, TABLE, PRIOR)
    observed = mechanism.observed(mechanism.release(list(range(WORDS)), SimulatedRandomness(4)))
    law = np.log(cell_law(spec, POINTS.vectors.astype(float)) / 2.0**62)
    exact = sum(law[:, j, observed[:, j]].T for j in range(4)) + np.log(PRIOR)
    for rows, block in mechanism.scores(observed, np.log(PRIOR)):
        assert block == pytest.approx(exact[rows], rel=1e-4)


def test_more_noise_tells_less_and_none_tells_all():
    """Posterior means near the true embeddings at little noise, near the prior's mean at much."""
    tokens = list(range(WORDS))
    clear, dim = (Gaussian(GaussianSpec.of(8, 4, 3.0, sigma), POINTS.vectors, TABLE, PRIOR) for sigma in (0.01, 1000.0))
    assert clear.embeddings(clear.release(tokens, SimulatedRandomness(0))) == pytest.approx(TABLE, abs=1e-3)
    mean = PRIOR @ TABLE
    assert np.abs(dim.embeddings(dim.release(tokens, SimulatedRandomness(0))) - mean).max() < 0.1
    near, far = (Metric(MetricSpec.of(16, 4, 9.0, eta), POINTS.vectors, TABLE, PRIOR) for eta in (1e4, 1e-3))
    assert near.embeddings(near.release(tokens, SimulatedRandomness(0))) == pytest.approx(TABLE, abs=1e-3)
    assert np.abs(far.embeddings(far.release(tokens, SimulatedRandomness(0))) - mean).max() < 0.1


@pytest.mark.parametrize("bits", [1, 5, 16])
def test_plain_values_are_the_cells_that_hold_the_noisy_vectors(bits):
    spec = MetricSpec.of(bits, 4, 9.0, 1e6)
    mechanism = Metric(spec, POINTS.vectors, decoding="plain")
    values = mechanism.embeddings(mechanism.release(list(range(WORDS)), SimulatedRandomness(0)))
    assert np.abs(values - POINTS.vectors).max() <= spec.reach / 2**bits * 1.01


def test_rantext_draws_its_list_around_the_word_itself():
    mechanism = RanText(RanTextSpec.over(POINTS, 4.0, rate=2.0), POINTS, TABLE)
    distances = POINTS.distances(np.array([3]))[0]
    weights = mechanism.log_weights(distances, 1.5)
    assert np.array_equal(weights > -np.inf, distances < 1.5)
    assert weights[3] == 0
    assert np.array_equal(mechanism.log_weights(distances, 0.0) > -np.inf, np.arange(WORDS) == 3)
    assert np.exp(mechanism.log_channel(np.arange(3))).sum(axis=1) == pytest.approx(np.ones(3))
    message = mechanism.release([1, 2], SimulatedRandomness(0))
    assert np.array_equal(mechanism.embeddings(message), TABLE[mechanism.observed(message)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Exponential(ExponentialSpec.over(POINTS, 1.0), POINTS.vectors[::-1]), "points of hash"),
        (lambda: Exponential(ExponentialSpec.over(POINTS, 1.0), POINTS, TABLE[:5]), "table of 40 words"),
        (lambda: Exponential(ExponentialSpec.over(POINTS, 1.0), POINTS, TABLE, PRIOR[:5]), "prior over 40"),
        (lambda: Exponential(ExponentialSpec.over(POINTS, 1.0), POINTS, TABLE, PRIOR, "best"), "decoding"),
        (lambda: SanText(SanTextSpec.over(POINTS, 1.0), POINTS, SENSITIVE), "sensitive words"),
        (lambda: CusText(CusTextSpec.over(POINTS, GROUPS, 1.0), POINTS, GROUPS[::-1]), "groups"),
        (lambda: Gaussian(GaussianSpec.of(4, 5, 1.0, 1.0), POINTS.vectors), "dim=5"),
        (lambda: Metric(MetricSpec.of(4, 5, 1.0, 1.0), POINTS.vectors), "dim=5"),
        (lambda: GaussianSpec(4, 5, 1.0, 1.0, 0.01), "reach >="),
        (lambda: GaussianSpec.of(9, 5, 1.0, 1.0), "bits"),
        (lambda: SanTextSpec.plus(POINTS, 1.0, SENSITIVE, 1.5), "p in"),
        (lambda: RandomizedResponseSpec(1, 1), "words"),
        (lambda: RandomizedResponseSpec(4, 1 << 63), "weight"),
        (lambda: RandomizedResponseSpec.from_epsilon(40, 0.0), "epsilon"),
        (lambda: rarest(PRIOR, 0.0), "share"),
        (lambda: nearest_groups(POINTS, PRIOR, 1), "size"),
        (
            lambda: Points.of(np.array([[np.nan], [0.0]])),
            r"shape \(2, 1\) with NaN .* in 1 of 2 values",
        ),
        (lambda: RandomizedResponse(RandomizedResponseSpec(4, 5)).embeddings(b""), "16 bytes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, reason):
    with pytest.raises(UserError, match=reason):
        make()


def test_a_server_without_a_table_says_so():
    for mechanism in (
        RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 3.0)),
        Exponential(ExponentialSpec.over(POINTS, 9.0), POINTS),
        RanText(RanTextSpec.over(POINTS, 4.0), POINTS),
        Gaussian(GaussianSpec.of(4, 4, 1.0, 1.0), POINTS.vectors),
        Metric(MetricSpec.of(4, 4, 1.0, 1.0), POINTS.vectors),
    ):
        with pytest.raises(UserError, match="table=None"):
            mechanism.embeddings(mechanism.release([1], SimulatedRandomness(0)))
