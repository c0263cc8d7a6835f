from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import beta, binom

from attacks.base import AttackerKnowledge
from attacks.inversion import CodeNeighbour, CommonestWord, CosineNeighbour, MaximumAPosteriori, MaximumLikelihood
from attacks.ladder import ladder
from attacks.outcome import invert
from attacks.registry import attack_names
from mechanisms import channel as channel_module
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

ATTACKS = [attack for attack in ladder(attack_names()).values() if attack.context_free]
ROUNDING = 1e-4
"""What single precision may cost an attack: near ties it takes the other word."""


def read(attack, pipeline, counts):
    """Returns the attack's first guesses at counts, by way of a message."""
    return ranked(attack, pipeline, counts).best


def ranked(attack, pipeline, counts):
    (guesses,) = attack.fit(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior)).guess(
        [pack(counts, pipeline.spec)]
    )
    return guesses


def hits(attack, pipeline, messages, truth):
    attacker = attack.fit(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior))
    return invert(attack, attacker, messages, truth.reshape(len(messages), -1)).hits


def corners(dim):
    return np.array(list(product([-1.0, 1.0], repeat=dim)))


def zipf(words):
    prior = 1 / np.arange(1.0, words + 1)
    return prior / prior.sum()


def theorem_six(spec, kappa):
    """Returns the power at level kappa of the best test of Bin(d u, 1/2) against Bin(d u, p+), by the lemma's hand.

    The likelihood ratio grows with the count, so counts join the test from the largest down, the last one in part.
    """
    trials = spec.dim * spec.trials
    power = 0.0
    for count in range(trials, -1, -1):
        level = binom.pmf(count, trials, 0.5)
        share = min(1.0, kappa / level)
        power += share * binom.pmf(count, trials, spec.threshold_high / 2**32)
        kappa -= share * level
        if kappa <= 0:
            break
    return power


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_token_gets_one_word_of_the_vocabulary(random_public, attack):
    public = random_public(bits=3, dim=4, mu=4.0, words=11, seed=0)
    counts = np.random.default_rng(0).integers(0, 8, (2 * channel_module.BLOCK_ROWS + 9, 4), dtype=np.uint8)
    guesses = read(attack, public, counts)
    assert guesses.dtype == np.int64
    assert guesses.shape == (521,)
    assert guesses.min() >= 0
    assert guesses.max() < 11
    alone = [int(read(attack, public, row[None])[0]) for row in counts[250:262]]
    assert guesses[250:262].tolist() == alone


def test_names_are_told_apart():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", [MaximumAPosteriori(), MaximumLikelihood()], ids=lambda attack: attack.name)
def test_with_the_noise_nearly_off_the_exact_attacks_read_nearly_everything(make_public, release, attack):
    spec = QuantizerSpec.from_mu(4, 6, 0.05, 1000.0)
    public = make_public(spec, corners(6), zipf(64))
    messages, truth = release(public, 40, seed=1)
    assert hits(attack, public, messages, truth).mean() >= 0.99


@pytest.mark.parametrize("seed", range(3))
def test_with_all_noise_map_is_the_baseline(random_public, release, seed):
    public = random_public(bits=4, dim=5, mu=1e-4, words=30, seed=seed)
    counts = np.concatenate([public.observed(message) for message in release(public, 4, seed)[0]])
    assert np.array_equal(read(MaximumAPosteriori(), public, counts), read(CommonestWord(), public, counts))


def test_the_baseline_ignores_the_release(random_public):
    public = random_public(bits=4, dim=3, mu=20.0, words=12, seed=0)
    generator = np.random.default_rng(0)
    guesses = {
        tuple(read(CommonestWord(), public, generator.integers(0, 16, (5, 3), dtype=np.uint8))) for _ in range(9)
    }
    assert guesses == {(int(public.prior.argmax()),) * 5}


def test_the_baselines_success_is_the_largest_prior(random_public, exact_success):
    public = random_public(bits=2, dim=3, mu=3.0, words=12, seed=0)
    assert exact_success(CommonestWord(), public) == pytest.approx(public.prior.max(), rel=1e-9)


@pytest.mark.parametrize("mu", [0.5, 2.0, 6.0])
@pytest.mark.parametrize(("bits", "dim"), [(1, 8), (2, 4), (4, 2)])
def test_theorem_7_no_attack_beats_map_under_the_true_prior(random_public, exact_success, bits, dim, mu):
    """Exactly, by enumeration of every release; and the paper's attack falls well behind it on average."""
    lead = []
    for seed in range(4):
        public = random_public(bits, dim, mu, words=12, seed=seed)
        successes = {attack.name: exact_success(attack, public) for attack in ATTACKS}
        best = successes[MaximumAPosteriori().name]
        assert best >= max(successes.values()) - ROUNDING
        lead.append(best - successes[CosineNeighbour().name])
    assert np.mean(lead) > 0.01


@pytest.mark.parametrize("mu", [0.5, 2.0, 6.0])
def test_maximum_likelihood_is_best_where_all_words_are_alike(random_public, exact_success, mu):
    public = random_public(bits=2, dim=4, mu=mu, words=12, seed=1)
    public = replace(public, prior=np.full(12, 1 / 12))
    best = exact_success(MaximumLikelihood(), public)
    assert all(best >= exact_success(attack, public) - ROUNDING for attack in ATTACKS)


def test_map_success_is_the_sum_of_the_largest_joint_probabilities(random_public, exact_success):
    public = random_public(bits=2, dim=3, mu=3.0, words=10, seed=2)
    counts = np.array(list(product(range(4), repeat=3)))
    success = 1 / (1 + np.exp(-public.channel.weights.T.astype(np.float64)))
    joint = public.prior * binom.pmf(counts[:, None], 3, success[None]).prod(axis=2)
    assert exact_success(MaximumAPosteriori(), public) == pytest.approx(joint.max(axis=1).sum(), abs=1e-5)


VOCABULARIES = {
    "two opposite corners": (np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]), np.full(2, 0.5)),
    "all corners alike": (corners(3), np.full(8, 1 / 8)),
    "all corners, Zipf": (corners(3), zipf(8)),
    "one word nearly certain": (corners(3), np.array([0.93] + [0.01] * 7)),
    "inside the cube": (np.random.default_rng(0).uniform(-1, 1, (40, 3)), zipf(40)),
}


@pytest.mark.parametrize("mu", [0.3, 2.0, 5.0, 15.0])
@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_theorem_6_bounds_the_exact_success_of_map(make_public, exact_success, vocabulary, bits, mu):
    shares, prior = VOCABULARIES[vocabulary]
    spec = QuantizerSpec.from_mu(bits, 3, 0.05, mu)
    success = exact_success(MaximumAPosteriori(), make_public(spec, shares, prior))
    assert prior.max() - ROUNDING <= success <= theorem_six(spec, prior.max()) + 1e-12


def test_theorem_6_is_no_empty_bound_and_catches_a_quantizer_of_half_the_scale(make_public, exact_success):
    spec = QuantizerSpec(bits=2, dim=3, clip=0.05, scale=0.25)
    shares, prior = VOCABULARIES["all corners alike"]
    public = make_public(spec, shares, prior)
    bound = theorem_six(spec, prior.max())
    success = exact_success(MaximumAPosteriori(), public)
    assert 0.7 * bound < success <= bound < 0.5
    broken = replace(spec, scale=spec.scale / 2)
    assert exact_success(MaximumAPosteriori(), public, law=broken) > bound


def test_theorem_6_bounds_what_is_measured_on_released_messages(make_public, release):
    spec = QuantizerSpec(bits=4, dim=5, clip=0.05, scale=0.4)
    public = make_public(spec, corners(5), zipf(32))
    messages, truth = release(public, 80, seed=3)
    bound = theorem_six(spec, public.prior.max())
    read_by = {attack.name: int(hits(attack, public, messages, truth).sum()) for attack in ATTACKS}
    assert read_by[MaximumAPosteriori().name] > read_by[CommonestWord().name]
    for found in read_by.values():
        lower = beta.ppf(1e-6, found, len(truth) - found + 1)  # a confidence limit that chance passes once in a million
        assert lower < bound < 1


def test_the_papers_attack_is_the_cosine_neighbour_of_the_linearly_decoded_vector(random_public):
    public = random_public(bits=4, dim=4, mu=8.0, words=25, seed=3)
    counts = np.random.default_rng(0).integers(0, 16, (60, 4), dtype=np.uint8)
    decoded = public.linear.decode(counts).astype(np.float64)
    table = public.table.astype(np.float64)
    cosine = (decoded @ table.T) / np.linalg.norm(decoded, axis=1)[:, None] / np.linalg.norm(table, axis=1)
    assert np.array_equal(read(CosineNeighbour(), public, counts), cosine.argmax(axis=1))


def test_the_papers_attack_stands_a_word_without_length(random_public):
    public = random_public(bits=4, dim=4, mu=8.0, words=25, seed=3)
    table = public.table.copy()
    table[7] = 0
    guesses = read(CosineNeighbour(), replace(public, table=table), np.full((3, 4), 9, dtype=np.uint8))
    assert (guesses != 7).all()


def test_the_nearest_code_is_the_euclidean_one(random_public):
    public = random_public(bits=4, dim=4, mu=8.0, words=25, seed=3)
    counts = np.random.default_rng(0).integers(0, 16, (60, 4), dtype=np.uint8)
    released = StochasticQuantizer(public.spec).dequantize(counts).astype(np.float64)
    distances = ((released[:, None] - public.encoder.codes[None].astype(np.float64)) ** 2).sum(axis=2)
    assert np.array_equal(ranked(CodeNeighbour(), public, counts).words, distances.argsort(axis=1, kind="stable"))


def test_theorem_7_guesses_are_ranked_by_the_exact_posterior(random_public):
    """By brute force: prior times binomial probabilities at the integer thresholds, normalised over all words."""
    public = random_public(bits=3, dim=5, mu=3.0, words=23, seed=4)
    counts = np.random.default_rng(1).integers(0, 8, (40, 5), dtype=np.uint8)
    chances = StochasticQuantizer(public.spec).thresholds(public.encoder.codes) / 2**32
    joint = np.log(public.prior) + binom.logpmf(counts[:, None], 7, chances[None]).sum(axis=2)
    posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    guesses = ranked(MaximumAPosteriori(), public, counts)
    assert np.array_equal(guesses.words, (-joint).argsort(axis=1))
    scores = guesses.scores.astype(np.float64)
    shares = np.exp(scores - np.logaddexp.reduce(scores, axis=1)[:, None])
    assert np.allclose(shares, np.take_along_axis(posterior, guesses.words, 1), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("bits", "dim"), [(1, 5), (3, 2), (2, 3)])
def test_theorem_7_the_posterior_by_one_matrix_product_is_the_one_by_brute_force(random_public, bits, dim):
    """In double precision, over every release there is: the product's formula against products of binomials."""
    public = random_public(bits, dim, mu=3.0, words=17, seed=bits)
    counts = np.array(list(product(range(public.spec.trials + 1), repeat=dim)))
    chances = StochasticQuantizer(public.spec).thresholds(public.encoder.codes) / 2**32
    joint = public.prior * binom.pmf(counts[:, None], public.spec.trials, chances[None]).prod(axis=2)
    brute = joint / joint.sum(axis=1, keepdims=True)
    weights, offsets = np.log(chances / (1 - chances)), public.spec.trials * np.log1p(-chances).sum(axis=1)
    scores = counts @ weights.T + offsets + np.log(public.prior)
    formula = np.exp(scores - np.logaddexp.reduce(scores, axis=1)[:, None])
    assert np.abs(formula - brute).max() < 1e-12
    ((_, single),) = public.scores(counts.astype(np.uint8), np.log(public.prior))  # what attacks compute
    shift = (single - scores).mean(axis=1, keepdims=True)
    assert np.abs(single - scores - shift).max() < 1e-4


def test_an_unknown_law_is_refused(random_public):
    pipeline = random_public(bits=4, dim=3, mu=5.0, words=9, seed=0)

    class Unknown:
        name, spec, release = "opaque", pipeline.spec, pipeline.release
        observed, embeddings = pipeline.observed, pipeline.embeddings

    public = AttackerKnowledge(Unknown(), pipeline.table, pipeline.prior)
    for attack in (MaximumLikelihood(), MaximumAPosteriori()):
        with pytest.raises(UserError, match="whose law is known, got 'opaque'"):
            attack.fit(public)
    with pytest.raises(UserError, match="DEL for the nearest code, got 'opaque'"):
        CodeNeighbour().fit(public)
    assert len(CosineNeighbour().fit(public).guess([pipeline.release([1, 2], SimulatedRandomness(0, "x"))])[0]) == 2
