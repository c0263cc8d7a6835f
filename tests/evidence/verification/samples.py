"""Makes tables of released rows for tests."""

import numpy as np

from del_audit.evidence.verification.binomial import ClaimedLaw
from del_audit.evidence.verification.design import Call, corners
from del_audit.evidence.verification.driving import Answer
from del_audit.evidence.verification.sample import Sample


def draw(law, levels, rng):
    """Returns counts of the claimed law."""
    return rng.binomial(law.spec.trials, law.chance[levels])


def table(law: ClaimedLaw, calls, rng, release=None) -> Sample:
    """Returns the table of calls, released by `release` of levels or by the claimed law."""
    release = release or (lambda levels: draw(law, levels, rng))
    return Sample.of([Answer(call, release(call.levels), 0.0) for call in calls], law)


def corner_calls(rng, dim, rows, number, kind="corners"):
    """Returns calls of random corners."""
    return [Call(kind, corners(rng, rows, dim)) for _ in range(number)]


def super_uniform(p_values, false_alarm=1e-6):
    """Asserts that p-values are no smaller than uniform ones at several levels."""
    from scipy.stats import binom

    p_values = np.asarray(p_values)
    for level in (0.01, 0.05, 0.2):
        most = binom.isf(false_alarm, len(p_values), level)
        assert (p_values <= level).sum() <= most, (level, (p_values <= level).mean())
