"""Views that are made message by message, and kept sparse, beside the same views made of whole dense arrays."""

import numpy as np
import pytest

from attacks.attribute import Viewer
from attacks.attribute.candidates import PRIOR_TOKENS, families
from attacks.attribute.posteriors import KEPT_CANDIDATES, LEAST
from attacks.attribute.probes import _fitted
from attacks.attribute.views import BAG, EMBEDDING, KEPT_WORDS, SEQUENCE, TEXT, TOKENS, WORDS
from attacks.base import AttackerKnowledge
from mechanisms.randomness import SimulatedRandomness

VOCABULARY, PUBLIC, PRIVATE = 3_000, 12, 6
LABELS = np.array(["acne", "flu", "pain"] * (PUBLIC // 3))


class Words:
    """A tokenizer that writes each token as its own word."""

    def decode(self, tokens, skip_special_tokens, clean_up_tokenization_spaces):
        return " ".join(f"w{token}" for token in tokens)


@pytest.fixture(scope="module", params=[2.0, 8.0], ids=["much noise", "little noise"])
def world(request, random_public):
    """Returns pipeline, texts and messages; with much noise more words are possible than are kept."""
    pipeline = random_public(bits=4, dim=3, mu=request.param, words=VOCABULARY, seed=1)
    generator = np.random.default_rng(2)
    texts = [generator.choice(VOCABULARY, generator.integers(1, 40), p=pipeline.prior).tolist() for _ in range(18)]
    texts[3] = generator.choice(VOCABULARY, 300, p=pipeline.prior).tolist()  # longer than a block of scores
    messages = [pipeline.release(text, SimulatedRandomness(i, "dense")) for i, text in enumerate(texts)]
    return pipeline, texts, messages


@pytest.fixture(scope="module")
def viewer(world):
    pipeline, _, _ = world
    return Viewer(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior), tokenizer=Words())


def posterior_of(pipeline, message):
    """Returns P(word | release) of each token, float64, shape (tokens, words), all words at once."""
    blocks = [s.copy() for _, s in pipeline.channel.scores(pipeline.observed(message), np.log(pipeline.prior))]
    scores = np.concatenate(blocks).astype(np.float64)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def kept_of(posterior):
    """Returns the posterior with the words set to 0 that are not kept: unlikely ones, and all but the likeliest."""
    last = np.sort(posterior, axis=1)[:, -KEPT_CANDIDATES][:, None]
    return np.where(posterior >= np.maximum(LEAST, last), posterior, 0.0)


def bag_of(posterior):
    """Returns the expected bag of words with all but its largest words set to 0."""
    bag = posterior.sum(axis=0)
    return np.where(bag >= np.sort(bag)[-KEPT_WORDS], bag, 0.0)


def reduced_of(pipeline):
    """Returns the table in coordinates without a mean and of unit variance under the prior, all there are."""
    prior = pipeline.prior
    centred = pipeline.table.astype(np.float64) - prior @ pipeline.table
    values, vectors = np.linalg.eigh(centred.T @ (centred * prior[:, None]))
    return (centred @ vectors / np.sqrt(np.maximum(values, 1e-30)))[:, values > 1e-6 * values[-1]]


def channel_bayes(pipeline, kept, texts, labels, smoothing):
    """Returns P(class | release) by the formula, from dense arrays."""
    laws = []
    for name in np.unique(labels):
        text = [word for text, label in zip(texts, labels, strict=True) if label == name for word in text]
        count = np.bincount(text, minlength=VOCABULARY) + smoothing * pipeline.prior
        laws.append(count / count.sum() / pipeline.prior - 1)
    scores = np.array([np.log(1 + part @ np.array(laws).T).sum(axis=0) / np.sqrt(len(part)) for part in kept])
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def test_released_views_are_those_of_dense_posteriors(world, viewer):
    pipeline, texts, messages = world
    rows = viewer.released(messages, texts).rows
    reduced = reduced_of(pipeline)
    for index, message in enumerate(messages):
        posterior = posterior_of(pipeline, message)
        bag, kept, best = bag_of(posterior), kept_of(posterior), posterior.argmax(axis=1)
        assert np.allclose(rows[EMBEDDING][index], posterior.mean(axis=0) @ pipeline.table, rtol=1e-4, atol=1e-6)
        assert np.allclose(rows[BAG][[index]].toarray()[0], bag, rtol=1e-4, atol=1e-5)
        assert np.allclose(rows[WORDS][index], pipeline.table[best].mean(axis=0), rtol=1e-5)
        assert rows[TEXT][index] == " ".join(f"w{word}" for word in best)
        found = rows[TOKENS][index].words.toarray()
        assert np.allclose(found, kept, rtol=1e-4, atol=1.1 * LEAST)
        assert np.abs((found > 0).sum(axis=1) - (kept > 0).sum(axis=1)).max() <= 1  # a tie at the end of what is kept
        means = rows[SEQUENCE][index][:, 3:]
        assert np.allclose(means @ means.T, (posterior @ reduced) @ (posterior @ reduced).T, rtol=1e-2, atol=1e-2)


def test_clean_views_are_those_of_dense_bags(world, viewer):
    pipeline, texts, _ = world
    rows = viewer.clean(texts).rows
    for index, text in enumerate(texts):
        bag = np.bincount(text, minlength=VOCABULARY)
        assert np.array_equal(rows[BAG][[index]].toarray()[0], bag)
        assert np.allclose(rows[EMBEDDING][index], bag @ pipeline.table.astype(float) / len(text), rtol=1e-4, atol=1e-6)
        assert np.array_equal(rows[TOKENS][index].words.toarray(), np.eye(VOCABULARY)[text])
    assert rows[BAG].has_sorted_indices


@pytest.mark.parametrize("clean", [False, True], ids=["released", "clean"])
def test_probes_of_token_posteriors_tell_what_the_dense_formula_tells(world, viewer, clean):
    pipeline, texts, messages = world
    if clean:
        rows = viewer.clean(texts).rows[TOKENS]
        kept = [np.eye(VOCABULARY)[text] for text in texts[PUBLIC:]]
    else:
        rows = viewer.released(messages, texts).rows[TOKENS]
        kept = [kept_of(posterior_of(pipeline, message)) for message in messages[PUBLIC:]]
    (family,) = families(rows, 0)
    assert len(family.candidates) == len(PRIOR_TOKENS)
    for candidate, smoothing in zip(family.candidates, PRIOR_TOKENS, strict=True):
        model = _fitted(family, candidate, rows[:PUBLIC], LABELS, np.arange(PUBLIC))
        expected = channel_bayes(pipeline, kept, texts[:PUBLIC], LABELS, smoothing)
        assert np.allclose(model.predict_proba(rows[PUBLIC:]), expected, rtol=2e-3, atol=1e-4)
