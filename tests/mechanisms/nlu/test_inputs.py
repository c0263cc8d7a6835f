import pytest
import torch

from mechanisms.continuation import embed
from mechanisms.nlu import Clean, Released
from mechanisms.randomness import SimulatedRandomness

TOKENS = ((65, 70, 80), (300,))


def test_rows_are_what_the_mechanism_gives_of_its_release(gentle):
    rows = gentle.rows(TOKENS, "here")
    source = SimulatedRandomness(gentle.seed, "nlu release", "here")
    expected = [gentle.mechanism.embeddings(gentle.mechanism.release(row, source)) for row in TOKENS]
    assert [row.tolist() for row in rows] == [values.tolist() for values in expected]
    assert [tuple(row.shape) for row in rows] == [(3, 32), (1, 32)]


def test_a_purpose_repeats_its_noise_and_another_draws_afresh(harsh):
    again = Released(harsh.mechanism, harsh.seed)
    other_seed = Released(harsh.mechanism, harsh.seed + 1)
    first = harsh.rows(TOKENS, "a", "1")
    assert all(map(torch.equal, first, again.rows(TOKENS, "a", "1")))
    for fresh in (harsh.rows(TOKENS, "a", "2"), harsh.rows(TOKENS, "a1"), other_seed.rows(TOKENS, "a", "1")):
        assert not torch.equal(first[0], fresh[0])


def test_nothing_is_read_from_a_broken_quantizer(gentle, broken_quantizer):
    with pytest.raises(RuntimeError, match="the quantizer is broken"):
        gentle.rows(TOKENS, "here")


def test_clean_rows_are_the_models_own_and_say_so(own_language, gentle):
    clean = Clean(own_language.model)
    assert all(
        torch.equal(row, embed(own_language.model, t)) for row, t in zip(clean.rows(TOKENS), TOKENS, strict=True)
    )
    assert not clean.private
    assert gentle.private
    assert clean.fingerprint == "clean embeddings"
    assert gentle.fingerprint == gentle.mechanism.spec.fingerprint.hex()
