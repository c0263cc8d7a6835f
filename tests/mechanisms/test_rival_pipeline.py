"""Other mechanisms than DEL with the decoders that any law has: served, sent several times, made to tell nothing."""

import numpy as np
import pytest

from attacks.repeated import repeated
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
from mechanisms.pipeline import Pipeline
from mechanisms.public_words import PublicWords
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rival_pipeline import RivalPipeline, assemble_own, assemble_rival
from mechanisms.rivals import (
    CoarseWords,
    CoarseWordsSpec,
    ProjectiveGeometry,
    ProjectiveGeometrySpec,
    RandomizedResponse,
    RandomizedResponseSpec,
    SubsetSelection,
    SubsetSelectionSpec,
)
from mechanisms.rivals.message_sizes import counted_sizes, described_sizes
from mechanisms.rivals.silent import Silent, silent_spec

WORDS = 12
TABLE = np.random.default_rng(0).standard_normal((WORDS, 5)).astype(np.float32)
DOCUMENTS = [np.random.default_rng(seed).integers(0, WORDS, 64).tolist() for seed in range(40)]
PUBLIC = PublicWords(TABLE, DOCUMENTS)
SYMBOLS = np.arange(WORDS) % 4
INNER = RandomizedResponseSpec.from_epsilon(4, 2.0)
MECHANISMS = {
    "response": RandomizedResponse(RandomizedResponseSpec.from_epsilon(WORDS, 2.0)),
    "sets": SubsetSelection(SubsetSelectionSpec.from_epsilon(WORDS, 2.0, 3)),
    "points": ProjectiveGeometry(ProjectiveGeometrySpec.from_epsilon(WORDS, 2.0, 3, 3)),
    "coarse": CoarseWords(CoarseWordsSpec.over(INNER, SYMBOLS), SYMBOLS),
    "coarse sets": CoarseWords(CoarseWordsSpec.over(SubsetSelectionSpec.from_epsilon(4, 2.0, 2), SYMBOLS), SYMBOLS),
}
every = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)


def posterior(mechanism, message, times=1):
    """Returns the exact posterior of each token, from the scores of single releases alone."""
    observed = mechanism.observed(message)
    scores = np.concatenate([block.copy() for _, block in mechanism.scores(observed)]).astype(np.float64)
    weighted = np.exp(scores - scores.max(axis=1, keepdims=True)) * PUBLIC.prior
    return weighted / weighted.sum(axis=1, keepdims=True)


@every
def test_decoders_of_any_law_give_what_the_posterior_says(mechanism):
    message = mechanism.release(DOCUMENTS[0], SimulatedRandomness(1, "x"))
    exact = posterior(mechanism, message)
    plain = assemble_rival(mechanism, PUBLIC, "posterior-mean-plain")
    assert np.abs(plain.embeddings(message) - exact @ TABLE).max() < 1e-5
    several = [mechanism.release(document, SimulatedRandomness(2, "y")) for document in DOCUMENTS[:5]]
    for one, decoded in zip(several, plain.embeddings_of(several), strict=True):
        assert np.abs(decoded - plain.embeddings(one)).max() < 1e-6
    assert plain.embeddings_of([]) == []
    best = assemble_rival(mechanism, PUBLIC, "most-likely").embeddings(message)
    chosen = np.abs(best[:, None] - TABLE).sum(axis=2).argmin(axis=1)
    assert (exact[np.arange(len(chosen)), chosen] >= exact.max(axis=1) - 1e-6).all()


@every
def test_the_gain_gives_decoded_public_text_the_spread_of_its_embeddings(mechanism):
    served = assemble_rival(mechanism, PUBLIC)
    tokens = np.concatenate(DOCUMENTS)[:1024]
    message = mechanism.release(tokens.tolist(), SimulatedRandomness(7, "another release"))
    mean = PUBLIC.prior @ TABLE
    spread = ((served.embeddings(message) - mean) ** 2).sum() / ((TABLE[tokens] - mean) ** 2).sum()
    assert 0.8 < spread < 1.25
    assert served.decoder.gain > 1.1


@every
def test_several_releases_are_pooled_by_the_law(mechanism):
    plain = assemble_rival(mechanism, PUBLIC, "posterior-mean-plain")
    three = repeated(plain, 3)
    assert isinstance(three, RivalPipeline)
    assert isinstance(three, KnownChannel)
    assert three.spec == plain.spec
    message = three.release(DOCUMENTS[0], SimulatedRandomness(1, "x"))
    source = SimulatedRandomness(1, "x")
    logs = sum(
        np.log(posterior(mechanism, mechanism.release(DOCUMENTS[0], source)) / PUBLIC.prior) for _ in range(3)
    ) + np.log(PUBLIC.prior)
    exact = np.exp(logs - logs.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    assert np.abs(three.embeddings(message) - exact @ TABLE).max() < 1e-4
    with pytest.raises(UserError, match="sends a prompt once"):
        repeated(three, 2)


@every
def test_a_silent_release_reads_as_its_own_and_tells_nothing(mechanism):
    """Uniform over all outputs, whatever the word: the likelihood of a word is on average what it is without one."""
    silent, tokens = Silent(mechanism), [3] * 6000
    observed = mechanism.observed(silent.release(tokens, SimulatedRandomness(2, "x")))
    scores = np.concatenate([block.copy() for _, block in mechanism.scores(observed)])
    inside = scores > (scores.min() + scores.max()) / 2
    share, count = float(mechanism.spec.share), len(tokens)
    assert np.abs(inside.mean(axis=0) - share).max() < 5 * np.sqrt(share * (1 - share) / count)
    assert silent_spec(mechanism.spec).log_odds < 1e-9


@every
def test_the_sizes_of_a_description_are_those_of_its_messages(mechanism):
    sizes = described_sizes(mechanism.spec)
    for tokens in (1, 2, 7, 64):
        assert len(mechanism.release([0] * tokens, SimulatedRandomness(0, "x"))) == sizes.of(tokens)
    assert counted_sizes(mechanism) == sizes


def test_a_decoder_of_codes_and_an_unknown_law_are_refused():
    mechanism = MECHANISMS["response"]
    with pytest.raises(UserError, match=r"decoder among posterior-mean, .*got 'mixed', which reads DEL's codes"):
        assemble_rival(mechanism, PUBLIC, "mixed")
    with pytest.raises(UserError, match="language model only"):
        assemble_rival(mechanism, PUBLIC, "language-prior")

    class Lawless:
        name, spec = "lawless", mechanism.spec
        release, observed, embeddings = mechanism.release, mechanism.observed, mechanism.embeddings

    for assembled in (assemble_rival, assemble_own):
        with pytest.raises(UserError, match=r"whose law is known, got 'lawless'.*Add `scores`"):
            assembled(Lawless(), PUBLIC)
    assert not isinstance(assemble_rival(mechanism, PUBLIC), Pipeline)
