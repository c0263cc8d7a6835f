"""A rival that a configuration names has the law of the registry's mechanism, made directly over the same words."""

import numpy as np
import pytest
from rival_kinds import RIVALS

from del_audit.configuration.mechanisms import RivalMechanism
from del_audit.configuration.rivals import GaussianFields, MetricFields
from del_audit.service.mechanisms import mechanism_over
from del_audit.service.rivals import rival_over
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.public_words import PublicWords
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MECHANISMS, imported
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
    SanText,
    SanTextSpec,
)
from mechanisms.rivals.custext import nearest_groups
from mechanisms.rivals.santext import rarest
from mechanisms.spec import QuantizerSpec

WORDS, TOKENS = 60, list(range(0, 60, 2))
TABLE = np.random.default_rng(0).standard_normal((WORDS, 9)).astype(np.float32)
PUBLIC = PublicWords(TABLE, [list(range(WORDS)), [3, 3, 3, 5, 7]])
POINTS = Points.of(TABLE)


def directly(kind):
    if kind == "gaussian":
        codes = fit_encoder(TABLE, PUBLIC.prior, QuantizerSpec.from_mu(4, 8, 0.05, 5.0), EncoderSettings()).codes
        return Gaussian(GaussianSpec.of(4, 8, 0.05, 0.05), codes)
    if kind == "metric":
        radius = float(np.linalg.norm(TABLE.astype(np.float64), axis=1).max())
        return Metric(MetricSpec.of(16, 9, radius, 60.0), TABLE)
    if kind == "exponential":
        return Exponential(ExponentialSpec.over(POINTS, 12.0), POINTS)
    if kind == "santext":
        return SanText(SanTextSpec.over(POINTS, 60.0), POINTS)
    groups = nearest_groups(POINTS, PUBLIC.prior, 20)
    return CusText(CusTextSpec.over(POINTS, groups, 2.0), POINTS, groups)


def named(kind, **changes):
    return mechanism_over(RivalMechanism.read({**RIVALS[kind], **changes}), PUBLIC)


def scores(mechanism, message):
    return np.concatenate([block.copy() for _, block in mechanism.scores(mechanism.observed(message), None)])


@pytest.mark.parametrize("kind", RIVALS)
def test_its_law_is_the_registrys(kind):
    made, direct = named(kind, **({"group_size": 20} if kind == "custext" else {})), directly(kind)
    assert type(made) is imported(MECHANISMS[kind].made_by)
    assert isinstance(made, KnownChannel)
    assert made.spec == direct.spec
    message = made.release(TOKENS, SimulatedRandomness(0, "law"))
    assert message == direct.release(TOKENS, SimulatedRandomness(0, "law"))
    np.testing.assert_array_equal(scores(made, message), scores(direct, message))
    assert scores(made, message).shape == (len(TOKENS), WORDS)


@pytest.mark.parametrize("kind", RIVALS)
def test_the_configuration_describes_its_own_spec_and_no_other(kind):
    choice = RivalMechanism.read({**RIVALS[kind], **({"group_size": 20} if kind == "custext" else {})})
    assert choice.describes(directly(kind).spec)
    assert not any(choice.describes(directly(other).spec) for other in RIVALS if other != kind)
    name = next(name for name in ("sigma", "eta", "epsilon") if name in choice.options)
    weaker = RivalMechanism.read({**RIVALS[kind], name: choice.options[name] * 2})
    assert not weaker.describes(directly(kind).spec)


def test_gaussian_noise_on_the_embedding_itself_clips_none_of_it():
    made = rival_over(GaussianFields(sigma=0.5), PUBLIC)
    direct = Gaussian(GaussianSpec.of(4, 9, float(np.abs(TABLE).max()), 0.5), TABLE)
    assert made.spec == direct.spec
    np.testing.assert_array_equal(made.codes, direct.codes)


def test_santext_plus_has_the_rarest_words_for_sensitive():
    made = named("santext", sensitive_share=0.5, p=0.1)
    sensitive = rarest(PUBLIC.prior, 0.5)
    assert made.spec == SanTextSpec.plus(POINTS, 60.0, sensitive, 0.1)
    np.testing.assert_array_equal(made.sensitive, sensitive)
    assert not made.sensitive[[3, 5, 7]].any()


def test_a_given_clip_radius_or_scale_is_kept():
    assert rival_over(GaussianFields(sigma=0.5, clip=1.5), PUBLIC).spec.clip == 1.5
    assert rival_over(GaussianFields(sigma=0.5, clip=1.5, dim=2), PUBLIC).spec.clip == 1.5
    assert rival_over(MetricFields(eta=1.0, radius=2.0), PUBLIC).spec.radius == 2.0
    assert named("exponential", scale=3.0).spec.scale == 3.0


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("gaussian", {"dim": 10}, "dim <= 9.*got dim=10"),
        ("custext", {"group_size": 61}, "group_size in 2..60.*61"),
    ],
)
def test_what_the_vocabulary_does_not_allow_is_refused(kind, changes, told):
    with pytest.raises(UserError, match=told):
        named(kind, **changes)
