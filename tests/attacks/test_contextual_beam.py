"""The beam over the contextual inverter: what is maximised, and that two readers read more than either."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from attacks.base import AttackerKnowledge
from attacks.inversion import ContextualBeam, ContextualInverter, LanguageBeam
from attacks.inversion.contextual import ContextualTraining, NetworkShape
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm, load_embedding_table
from mechanisms.pipeline import assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

SMALL = ContextualInverter(
    shape=NetworkShape(layers=1, heads=2, width=16, rank=16),
    training=ContextualTraining(steps=10, window=16, batch=4, common=384, validate_every=10, validation_share=0.2),
)


@pytest.fixture(scope="module")
def public(tiny_lm_folder):
    language, table = load_causal_lm(str(tiny_lm_folder)), load_embedding_table(str(tiny_lm_folder))
    words = simulation_generator(0, "informed").integers(250, 290, (30, 40))
    pipeline = assemble(table, words.tolist(), QuantizerSpec.from_mu(4, 6, 0.05, 3.0), EncoderSettings())
    return AttackerKnowledge(pipeline, table, pipeline.prior, words.tolist(), language)


def test_a_hypothesis_scores_evidence_plus_what_the_model_says_over_the_unigrams(public):
    """By hand, over all prompts of two tokens among the words that matter."""
    attack = ContextualBeam(SMALL, LanguageBeam(width=4, unigram_share=0.2, temper=0.8, weight=0.4))
    attacker = attack.fit(public)
    message = public.mechanism.release([260, 271], SimulatedRandomness(0, "informed"))
    observed = public.mechanism.observed(message)
    evidence = attacker.evidence(observed).double().numpy()
    assert np.allclose(np.exp(evidence).sum(axis=1), 1, atol=1e-4)
    candidates, model = np.argsort(-evidence, axis=1)[:, :60], public.language.model

    def said(tokens):
        logits = model(input_ids=torch.tensor([[model.config.bos_token_id, *tokens]])).logits[0, -1].double().numpy()
        return np.log(0.8 * np.exp(log_softmax(0.8 * logits)) + 0.2 * public.prior) - public.log_prior

    opening, after = said([]), {word: said([int(word)]) for word in candidates[0]}
    totals = {
        (a, b): evidence[0, a] + 0.4 * opening[a] + evidence[1, b] + 0.4 * after[a][b]
        for a, b in product(candidates[0], candidates[1])
    }
    best = max(totals, key=totals.get)
    assert attacker.search([observed]) == [[int(word) for word in best]]


def test_it_needs_no_known_law(public):
    class Opaque:
        name, spec, release = "opaque", public.mechanism.spec, public.mechanism.release
        observed, embeddings = public.mechanism.observed, public.mechanism.embeddings

    hidden = AttackerKnowledge(Opaque(), public.table, public.prior, public.documents, public.language)
    guesses = (
        ContextualBeam(SMALL).fit(hidden).guess([Opaque.release([255, 260, 270], SimulatedRandomness(1, "informed"))])
    )
    assert guesses[0].words.shape == (3, 50)


def test_without_a_language_model_it_is_refused(public):
    with pytest.raises(UserError, match="language model to attack with"):
        ContextualBeam(SMALL).fit(AttackerKnowledge(public.mechanism, public.table, public.prior, public.documents))


def test_a_brief_one_differs_in_training_only():
    long = ContextualBeam(ContextualInverter(training=ContextualTraining(steps=5000)))
    brief = long.brief(None)
    assert brief.inverter.training.steps < 100
    assert (brief.name, brief.beam) == (long.name, long.beam)
