"""What a release tells of a word on average, against closed forms."""

import numpy as np
import pytest

from attacks.base import AttackerKnowledge
from del_audit.evidence.information import information
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec, SubsetSelection, SubsetSelectionSpec

WORDS = 50
TABLE = simulation_generator(0, "table").normal(size=(WORDS, 4)).astype(np.float32)


def told(mechanism, prior, documents, tokens=6_000):
    public = AttackerKnowledge(mechanism, TABLE, prior)
    source = SimulatedRandomness(0, "information")
    owners = list(range(len(documents)))
    return information(public, lambda cut: mechanism.release(cut, source), documents, owners, 64, 0, tokens)


def drawn(prior, count=200):
    generator = simulation_generator(1, "documents")
    return [generator.choice(WORDS, 40, p=prior).tolist() for _ in range(count)]


def near(figure, exact):
    """Returns whether the exact value is within five standard errors: wrong once in a million."""
    return abs(figure.value - exact) <= 5 * (figure.upper - figure.lower) / (2 * 1.96)


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
@pytest.mark.parametrize("kind", [(RandomizedResponse, RandomizedResponseSpec), (SubsetSelection, SubsetSelectionSpec)])
def test_uniform_words_are_told_as_much_as_the_capacity(kind, epsilon):
    mechanism, spec = kind
    made, prior = mechanism(spec.from_epsilon(WORDS, epsilon)), np.full(WORDS, 1 / WORDS)
    figure = told(made, prior, drawn(prior))
    assert near(figure, made.spec.capacity)
    assert not near(figure, spec.from_epsilon(WORDS, 1.4 * epsilon).capacity)
    assert (figure.unit, figure.kind, figure.sample) == ("nats per token", "estimated, with interval", 6_000)


def test_words_of_any_prior_are_told_the_mutual_information():
    prior = simulation_generator(2, "prior").dirichlet(np.full(WORDS, 0.3))
    prior = (prior + 1e-4) / (prior + 1e-4).sum()
    made = RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 4.0))
    law = np.exp(np.stack([made.log_channel(np.array([word]))[0] for word in range(WORDS)]))  # released, word
    released = law @ prior
    exact = float((prior * law * np.log(law / released[:, None])).sum())
    figure = told(made, prior, drawn(prior))
    assert near(figure, exact)
    assert not near(figure, made.spec.capacity)


def test_prompts_are_cut_and_no_more_are_read_than_asked():
    prior = np.full(WORDS, 1 / WORDS)
    made = RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 4.0))
    documents = [[1] * 100, [], [2] * 10, [3] * 100, [4] * 100]
    assert told(made, prior, documents, tokens=100).sample == 64 + 10 + 64


def test_a_single_document_has_no_interval():
    prior = np.full(WORDS, 1 / WORDS)
    made = RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 4.0))
    with pytest.raises(UserError, match="two documents"):
        told(made, prior, [[1, 2, 3]])
