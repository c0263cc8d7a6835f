"""The self-test passes attacks that work, and names those that are too weak or that know what they should not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from attacks.base import AttackerKnowledge, TokenByToken
from attacks.inversion import (
    CommonestWord,
    ContextualBeam,
    ContextualInverter,
    InputInference,
    LanguageBeam,
    MaximumAPosteriori,
    MaximumLikelihood,
    TwoSided,
)
from attacks.inversion.contextual import ContextualTraining, NetworkShape
from attacks.ladder import ladder
from attacks.outcome import invert
from attacks.ranking import Guesses
from attacks.registry import attack_names
from attacks.self_test import REQUIRED, References, readable, self_test
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm, load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

SMALL = ContextualInverter(
    shape=NetworkShape(layers=1, heads=2, width=16, rank=16),
    training=ContextualTraining(steps=20, window=16, batch=4, common=384, validate_every=10, validation_share=0.2),
)
SMALLER = {
    "beam": LanguageBeam(width=2),
    "two-sided": TwoSided(beam=LanguageBeam(width=2)),
    "contextual": SMALL,
    "contextual-beam": ContextualBeam(SMALL, LanguageBeam(width=2)),
    "inference": InputInference(reach=16, candidates=4, right=2),
}
ATTACKS = [SMALLER.get(key, attack) for key, attack in ladder(attack_names()).items()]


@pytest.fixture(scope="module")
def public(tiny_lm_folder):
    language, table = load_causal_lm(str(tiny_lm_folder)), load_embedding_table(str(tiny_lm_folder))
    generator = simulation_generator(0, "self-test")
    shares = 1 / np.arange(1.0, 41)
    words = generator.choice(40, (30, 40), p=shares / shares.sum()) + 250
    documents = words.tolist()
    pipeline = assemble(table, documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    return AttackerKnowledge(pipeline, table, pipeline.prior, documents, language)


@pytest.fixture(scope="module")
def references(public):
    return References.of(public, prompts=6, tokens=12)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_attack_passes(attack, references):
    found = self_test(attack, references)
    assert found.passed, found.reason
    assert found.tokens == 72
    assert found.silent <= found.allowed < found.tokens / 2
    if not isinstance(attack, InputInference | CommonestWord):
        assert found.loud >= REQUIRED * found.tokens
    assert found.to_dict()["passed"] is True


def test_the_prompts_of_the_test_are_kept_out_of_every_fit(public, references):
    for world in (references.loud, references.silent):
        shown = {tuple(prompt) for prompt in references.prompts}
        assert not shown & {tuple(document[:12]) for document in world.documents}
        assert len(world.documents) == len(public.documents) - 6
    assert references.loud.mechanism.spec.mu > 1e3 > 1e-6 > references.silent.mechanism.spec.mu


@dataclass(frozen=True)
class Blind:
    """Answers word 0, and states no ceiling that excuses it."""

    name: str = "blind"
    version: int = 1
    context_free: bool = True

    def fit(self, public):
        def zeros(seen):
            return Guesses(np.zeros((len(seen), 1), np.int32), np.zeros((len(seen), 1), np.float32))

        return TokenByToken(public.mechanism, zeros)


def test_an_attack_that_reads_nothing_is_unusable(references):
    found = self_test(Blind(), references)
    assert not found.passed
    assert "tokens without noise, where 72 are expected" in found.reason


@dataclass(frozen=True)
class Lossy:
    """MAP that misses every twentieth token."""

    name: str = "lossy"
    version: int = 1
    context_free: bool = True

    def fit(self, public):
        return Losing(MaximumAPosteriori().fit(public))


@dataclass(frozen=True)
class Losing:
    inner: object

    def guess(self, messages):
        found = []
        for guesses in self.inner.guess(messages):
            words = guesses.words.copy()
            words[::12, 0] = words[::12, 1]
            found.append(Guesses(words, guesses.scores))
        return found


def test_an_attack_that_misses_a_few_without_noise_is_unusable(references):
    assert not self_test(Lossy(), references).passed


@dataclass(frozen=True)
class Cheat:
    """Knows the prompts."""

    prompts: list
    name: str = "cheat"
    version: int = 1
    context_free: bool = True

    def fit(self, public):
        return self

    def guess(self, messages):
        return [Guesses(np.int32(prompt)[:, None], np.zeros((len(prompt), 1), np.float32)) for prompt in self.prompts]


def test_an_attack_that_knows_what_was_not_sent_is_unusable(references):
    found = self_test(Cheat(references.prompts), references)
    assert not found.passed
    assert "from noise alone" in found.reason


def test_too_little_public_text_is_refused(public):
    with pytest.raises(UserError, match="more than 30 public documents of 12 tokens"):
        References.of(public, prompts=30, tokens=12)
    with pytest.raises(UserError, match="got 0"):
        References.of(replace(public, documents=[[1, 2]]), prompts=4, tokens=12)


@pytest.fixture(scope="module")
def doubled(public):
    """Returns the public world with a third of its words on the row of another, two common ones on the same row."""
    table = public.table.copy()
    table[253:290:3] = table[20:33]
    table[251] = table[252]
    pipeline = assemble(table, public.documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    return replace(public, mechanism=pipeline, table=table)


def test_words_that_share_an_embedding_row_are_not_asked_for(doubled):
    """One such token in a hundred was enough for MAP, which cannot tell them apart, to be called unusable."""
    references = References.of(doubled, prompts=6, tokens=12)
    truth = np.ravel(references.prompts)
    alone = readable(doubled.table)
    assert alone.sum() == len(doubled.table) - 2 * 14
    assert 0 < (~alone[truth]).sum() <= 36
    source = SimulatedRandomness(0, "self-test")
    messages = [references.loud.mechanism.release(prompt, source) for prompt in references.prompts]
    read = invert(MaximumAPosteriori(), MaximumAPosteriori().fit(references.loud), messages, references.prompts)
    assert read.hits.sum() < REQUIRED * len(truth)  # what every token counted would have asked for
    for attack in (MaximumAPosteriori(), FirstTwin(), MaximumLikelihood()):
        found = self_test(attack, references)
        assert found.passed, found.reason
        assert found.tokens == alone[truth].sum()
        assert found.loud == found.tokens
    assert not self_test(Blind(), references).passed
    assert not self_test(Lossy(), references).passed


@dataclass(frozen=True)
class FirstTwin:
    """MAP that names the first of the words that share a row."""

    name: str = "twin"
    version: int = 1
    context_free: bool = True

    def fit(self, public):
        first = {}
        for word, row in enumerate(public.table):
            first.setdefault(row.tobytes(), word)
        return Twins(MaximumAPosteriori().fit(public), [first[row.tobytes()] for row in public.table])


@dataclass(frozen=True)
class Twins:
    inner: object
    first: list

    def guess(self, messages):
        return [Guesses(np.int32(self.first)[found.words], found.scores) for found in self.inner.guess(messages)]


def test_a_table_of_shared_rows_has_a_reason_not_a_verdict(public):
    table = public.table.copy()
    table[250:290] = table[20:60]
    pipeline = assemble(table, public.documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    references = References.of(replace(public, mechanism=pipeline, table=table), prompts=6, tokens=12)
    found = self_test(MaximumAPosteriori(), references)
    assert not found.passed
    assert "Only 0 of the 72 tokens" in found.reason


def test_prompts_that_can_be_read_are_chosen(public):
    table = public.table.copy()
    table[200:210] = table[20:30]
    documents = [*public.documents, *([200 + i % 10 for i in range(12)] for _ in range(6))]
    pipeline = assemble(table, documents, QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    references = References.of(replace(public, mechanism=pipeline, table=table, documents=documents), 6, 12)
    assert all(word >= 250 for prompt in references.prompts for word in prompt)
    assert self_test(MaximumAPosteriori(), references).passed
