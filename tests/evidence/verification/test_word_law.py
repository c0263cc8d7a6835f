"""The law: what is noise of an output is uniform whatever the word, by enumeration of every output."""

from itertools import combinations

import numpy as np
import pytest
from word_clients import LAWS, MAP, RESPONSE

from del_audit.evidence.verification.words import WordLaw
from del_audit.evidence.verification.words.uniform import _together_p
from mechanisms.errors import UserError
from mechanisms.rivals import CoarseWordsSpec, GaussianSpec, ProjectiveGeometrySpec, SubsetSelectionSpec


@pytest.mark.parametrize(
    ("law", "outputs"),
    [
        (LAWS["randomized response"], np.arange(40)[:, None]),
        (WordLaw.of(SubsetSelectionSpec.from_epsilon(9, 1.0, size=3)), np.array(list(combinations(range(9), 3)))),
        (LAWS["projective geometry"], np.arange(156)[:, None]),
        (LAWS["a line of points"], np.arange(12)[:, None]),
    ],
    ids=["words", "sets", "points", "line"],
)
def test_every_noise_comes_once_inside_and_once_outside_each_support(law, outputs):
    for word in (0, 1, law.words // 2, law.words - 1):
        inside, drawn = law.noise(np.full(len(outputs), word), outputs)
        assert inside.mean() == pytest.approx(float(law.spec.share), rel=1e-12)
        for where in (False, True):
            noise = [tuple(row[row >= 0]) for row in drawn[inside == where]]
            assert len(set(noise)) == len(noise) > 0
            assert {len(numbers) for numbers in noise} == {law.sizes[where] if noise[0] or law.sizes[where] else 0}
            assert all(0 <= number < law.limits[where] for numbers in noise for number in numbers)
            if law.sizes[where] == 1:
                assert len(noise) == law.limits[where]


def test_the_chances_are_those_of_enumeration():
    """Over all outputs of a small space, each weighed by the law of word 0."""
    law = WordLaw.of(ProjectiveGeometrySpec.from_epsilon(10, 1.5, order=3, dimension=3))
    outputs = np.arange(13)[:, None]
    own, other = (law.noise(np.full(13, word), outputs)[0] for word in (0, 1))
    weights = np.where(own, law.chance / own.sum(), (1 - law.chance) / (~own).sum())
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    assert weights[other].sum() == pytest.approx(law.off, rel=1e-12)
    assert (weights**2).sum() == pytest.approx(law.repeated, rel=1e-12)


@pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))
def test_a_message_carries_what_a_client_answers(law):
    from mechanisms.randomness import SimulatedRandomness

    tokens = np.arange(8)
    outputs = law.opened(law.mechanism.release(tokens, SimulatedRandomness(0, "x")))
    assert outputs.shape == (8, law.numbers)
    assert law.shaped(outputs).shape == ((8,) if law.flat else (8, law.numbers))
    assert outputs.max() < law.limit


def test_claims_that_cannot_be():
    coarse = CoarseWordsSpec.over(SubsetSelectionSpec.from_epsilon(16, 2.0), MAP)
    with pytest.raises(UserError, match="Expected a map of words to symbols"):
        WordLaw.of(coarse)
    with pytest.raises(UserError, match="Expected the symbols of 120 words"):
        WordLaw.of(coarse, MAP[::-1].copy())
    with pytest.raises(UserError, match="coarse words alone, got one with randomized response"):
        WordLaw.of(RESPONSE, MAP)
    with pytest.raises(UserError, match="Expected the spec of a word mechanism"):
        WordLaw.of(GaussianSpec(4, 6, 1.0, 1.0, 1.0))


def test_all_buckets_together_tell_a_slant_and_accept_what_is_even():
    chances = np.full(16, 1 / 16)
    slanted = np.full(16, 1000) + np.repeat([100, -100], 8)
    assert _together_p(slanted, chances) < 1e-12
    rng = np.random.default_rng(1)
    p_values = np.array([_together_p(rng.multinomial(4000, chances), chances) for _ in range(500)])
    assert (p_values <= 0.05).sum() <= 50
