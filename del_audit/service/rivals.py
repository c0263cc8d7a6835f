"""The rivals that a configuration names, made over public words: each over its own public points."""

import numpy as np
from numpy.typing import NDArray

from del_audit.configuration.rivals import (
    CusTextFields,
    ExponentialFields,
    GaussianFields,
    MetricFields,
    RivalFields,
    SanTextFields,
)
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism
from mechanisms.projection import EncoderSettings, fit_encoder
from mechanisms.public_words import PublicWords
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

CODE_CLIP = 0.05
"""The clip of codes where none is given: DEL's."""


def rival_over(fields: RivalFields, words: PublicWords) -> ObservableMechanism:
    """Returns both halves of a rival over public words.

    Raises UserError for more coordinates than the embedding has, larger groups than there are words, and as the
    rivals' specs do.
    """
    match fields:
        case GaussianFields():
            return _gaussian(fields, words)
        case MetricFields():
            return _metric(fields, words)
        case ExponentialFields():
            points = Points.of(words.table)
            return Exponential(ExponentialSpec.over(points, fields.epsilon, fields.scale), points)
        case SanTextFields():
            return _santext(fields, words)
        case CusTextFields():
            return _custext(fields, words)


def _gaussian(fields: GaussianFields, words: PublicWords) -> Gaussian:
    points: NDArray[np.float32] = words.table
    clip = float(np.abs(points).max()) if fields.clip is None else fields.clip
    if fields.dim is not None:
        clip = CODE_CLIP if fields.clip is None else fields.clip
        like = QuantizerSpec(bits=1, dim=fields.dim, clip=clip, scale=2 * clip)  # codes follow dim and clip
        points = fit_encoder(words.table, words.prior, like, EncoderSettings(seed=words.seed)).codes
    return Gaussian(GaussianSpec.of(fields.bits, points.shape[1], clip, fields.sigma), points)


def _metric(fields: MetricFields, words: PublicWords) -> Metric:
    norms = np.linalg.norm(words.table.astype(np.float64), axis=1)
    radius = float(norms.max()) if fields.radius is None else fields.radius
    return Metric(MetricSpec.of(fields.bits, words.table.shape[1], radius, fields.eta), words.table)


def _santext(fields: SanTextFields, words: PublicWords) -> SanText:
    points = Points.of(words.table)
    if fields.sensitive_share == 1:
        return SanText(SanTextSpec.over(points, fields.epsilon), points)
    assert fields.p is not None
    sensitive = rarest(words.prior, fields.sensitive_share)
    return SanText(SanTextSpec.plus(points, fields.epsilon, sensitive, fields.p), points, sensitive)


def _custext(fields: CusTextFields, words: PublicWords) -> CusText:
    if fields.group_size > words.words:
        raise UserError(
            f"Expected mechanism.group_size in 2..{words.words}, the model's vocabulary, got {fields.group_size}."
        )
    points = Points.of(words.table)
    groups = nearest_groups(points, words.prior, fields.group_size)
    return CusText(CusTextSpec.over(points, groups, fields.epsilon), points, groups)
