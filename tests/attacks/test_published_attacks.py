"""The benchmark against published attacks, on made-up text: what it matches, what it estimates, and what it prints."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import some_words, write_rows
from scipy.stats import norm

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "peers"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: it has an `attacks` of its own
import published_attacks as bench
from beamclean import BeamClean, NoiseSpec, NoisyEmbeddings, estimated_sigma
from split_and_denoise import metric_of, perceptron

from attacks.inversion import LanguageBeam, MaximumLikelihood
from mechanisms.corpora import load_corpus
from mechanisms.models import load_causal_lm
from mechanisms.randomness import SimulatedRandomness, simulation_generator

SIGMA = 0.4


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def drawn():
    generator = np.random.default_rng(1)
    return generator.integers(0, 60, 400), generator.standard_normal((400, 12))


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Forty pairs for training and thirty-one to attack, one of whose sentences the train part has as well."""
    generator = simulation_generator(0, "pairs")
    rows = [(some_words(generator, 6), some_words(generator, 6), "train") for _ in range(40)]
    rows += [(rows[0][1], some_words(generator, 6), "test")]
    rows += [(some_words(generator, 40), some_words(generator, 6), "test") for _ in range(30)]
    path = write_rows(tmp_path_factory.mktemp("pairs") / "pairs.csv", ("sentence1", "sentence2", "split"), rows)
    return load_corpus(str(path), text_column="sentence1")


@pytest.fixture(scope="module")
def text(corpus, language):
    return bench.sentences(corpus, language, 8, seed=0)


def test_beyond_its_critical_scale_a_token_is_not_nearest(table, drawn):
    tokens, noise = drawn
    critical = bench.critical_scales(table, tokens, noise)
    for scale in (0.1, 0.5, 1.0, 2.0):
        noisy = table[tokens] + scale * noise
        nearest = np.linalg.norm(noisy[:, None] - table, axis=2).argmin(1)
        assert np.array_equal(nearest == tokens, critical > scale), scale
    assert (critical > 0.1).all()
    assert 0.01 < (critical > 2).mean() < 0.5  # so that each scale above decides something


def test_noise_is_matched_to_what_the_nearest_neighbour_reads(table):
    public = [np.random.default_rng(2).integers(0, 60, 3000).tolist()]
    source = SimulatedRandomness(9, "fresh noise")
    eta = bench.matched_eta(table, public, 0.42, seed=0)
    sigma = bench.matched_scale(
        table, public, lambda *shape: np.random.default_rng(3).standard_normal(shape[:2]), 0.42, 0
    )
    for mechanism in (metric_of(table, eta), NoisyEmbeddings(NoiseSpec(sigma, 12), table)):
        seen = mechanism.observed(mechanism.release(public[0], source))
        read = np.concatenate([block.argmax(1) for _, block in mechanism.scores(seen)])
        assert abs((read == public[0]).mean() - 0.42) < 0.05  # five standard deviations


def test_scores_are_the_log_density_less_a_constant(table):
    mechanism = NoisyEmbeddings(NoiseSpec(SIGMA, 12), table)
    prior = np.log(np.random.default_rng(4).dirichlet([1] * 60))
    seen = mechanism.observed(mechanism.release([3, 50, 3], SimulatedRandomness(0, "noise")))
    exact = norm.logpdf(seen[:, None], table, SIGMA).sum(2) + prior
    ((_, scores),) = mechanism.scores(seen, prior)
    assert np.allclose(scores - scores[:, :1], exact - exact[:, :1], atol=1e-3)


@pytest.mark.parametrize("sigma", [0.2, 0.6, 1.2])
def test_the_noise_is_estimated_from_releases_alone(table, sigma):
    generator = np.random.default_rng(5)
    prior = generator.dirichlet(np.full(60, 0.3))
    seen = table[generator.choice(60, 2000, p=prior)] + sigma * generator.standard_normal((2000, 12))
    found = estimated_sigma(table, seen.astype(np.float32), np.log(prior + 1e-12))
    assert abs(found / sigma - 1) < 0.04
    assert abs(found / (1.1 * sigma) - 1) > 0.04  # the test would notice a tenth


def test_beamclean_is_the_beam_without_our_prior_at_the_estimated_noise(language, text):
    spread = float(language.model.get_input_embeddings().weight.std())
    mechanism = NoisyEmbeddings(NoiseSpec(spread, 32), language.model.get_input_embeddings().weight.numpy())
    public = bench.known_to(mechanism, language, text.public)
    messages = [mechanism.release(row, SimulatedRandomness(i, "beam")) for i, row in enumerate(text.held)]
    attacker = BeamClean(width=6).fit(public)
    found = attacker.guess(messages)
    assert abs(attacker.sigma / spread - 1) < 0.2  # of eight tokens
    estimated = NoisyEmbeddings(NoiseSpec(attacker.sigma, 32), mechanism.table)
    plain = LanguageBeam(width=6, unigram_share=0.0, weight=1.0, depth=1)
    same = plain.fit(bench.known_to(estimated, language, text.public)).guess(messages)
    assert all(np.array_equal(a.best, b.best) for a, b in zip(found, same, strict=True))


def test_no_held_out_sentence_is_public(corpus, language, text):
    again = bench.sentences(corpus, language, 100, seed=0)
    assert len(text.held) == 8
    assert len(again.held) == 30  # one of 31 is public
    assert len(again.public) == 80
    assert not {tuple(row) for row in again.held} & {tuple(row) for row in again.public}
    assert max(map(len, again.held)) == bench.LENGTH


def test_every_ratio_is_over_the_nearest_neighbour(language, text, capsys):
    outcomes = bench.beamclean(language, text, bench.chosen_attacks(["beam"], beamclean=True), seed=0, share=0.421)
    names = ["nearest neighbour", "BeamClean, noise estimated", "MAP, unigram prior", "beam search, language model"]
    lines = capsys.readouterr().out.splitlines()
    assert [outcome.attack for outcome in outcomes] == names
    for name, outcome, line in zip(names, outcomes, lines, strict=False):
        assert name in line
        assert f" {outcome.hits.mean():.3f} [" in line
        assert f"{outcome.hits.mean() / outcomes[0].hits.mean():.2f}x [" in line
    assert "sigma estimated" in lines[1]
    assert "who knows all words to the left" in lines[-2]
    assert lines[-1] == "published: 0.743 over 0.421, 1.76x"


def test_metric_noise_is_compared_at_each_eta(language, text, capsys):
    bench.split_and_denoise(language, text, bench.chosen_attacks([]), 0, [0.0, 1e5], 0.421)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("1.000 [" in line for line in lines[2:])  # next to no noise: every token is read
    public = bench.known_to(
        metric_of(language.model.get_input_embeddings().weight.numpy(), 1e-3), language, text.public
    )
    capsys.readouterr()
    (blind,) = bench.compare("", [MaximumLikelihood(depth=1)], public, text.held, 0)
    assert blind.hits.mean() < 0.05
    assert blind.hits.any() or "no ratio" in capsys.readouterr().out


def test_the_perceptron_tells_what_can_be_told():
    generator = np.random.default_rng(0)
    labels, truth = (["a", "b", "c"] * n for n in (30, 20))
    shift = {"a": 0.0, "b": 3.0, "c": 6.0}
    train, test = (
        torch.tensor(np.array([generator.normal(shift[label], 0.5, 4) for label in part]), dtype=torch.float32)
        for part in (labels, truth)
    )
    assert sum(perceptron(train, labels, test, truth, seed=0, epochs=100)) >= 57
    drawn = torch.tensor(generator.standard_normal((60, 4)), dtype=torch.float32)
    assert sum(perceptron(train, labels, drawn, truth, seed=0, epochs=100)) < 40


def test_an_attribute_is_told_from_little_noise_by_both(language, reviews, capsys):
    bench.attribute(language, load_corpus(str(reviews), text_column="text"), "condition", [1e4], seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1][:4] for line in lines] == ["Spli", "Spli", "ours"]
    told = [float(line.split("balanced accuracy ")[1][:5]) for line in lines]
    assert told[1] > 0.9
    assert told[2] == 1.0
    assert not any(math.isnan(share) for share in told)
