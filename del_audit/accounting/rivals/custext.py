"""CusText: no epsilon between groups, the exponential mechanism within one (theorem 22)."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._word_rows import of_any_weights, within_groups
from del_audit.accounting.rivals.figures import UNBOUNDED, Figures, at_most, of_pure, of_rows
from del_audit.accounting.rivals.search import largest, token_epsilon
from del_audit.statistics.bound import Bound
from mechanisms.rivals._points import Points
from mechanisms.rivals.custext import CusText, CusTextSpec


def figures(spec: CusTextSpec, whole: CusText | None, delta: float, tokens: int) -> Figures:
    """Theorem 22: disjoint outputs between groups, the exponential mechanism inside."""
    reason = "A released word tells its group with certainty: no epsilon holds between groups (theorem 22)."
    text = "the same, each word that changes staying in its group"
    if whole is None:
        pure = min(spec.epsilon * (1 + 1e-12) + 1e-9, of_any_weights(spec.words))
        within = of_pure(at_most(pure), delta, tokens, "", spec.epsilon)
    else:
        within = of_rows(whole, within_groups(whole), delta, tokens, spec.epsilon)
        if (whole.groups == whole.groups[0]).all():
            return within
    certain = Bound(1.0, 1.0, 1.0)
    return Figures(UNBOUNDED, UNBOUNDED, certain, reason, spec.epsilon, within.epsilon, text)


def calibrated(epsilon: float, delta: float, points: Points | ArrayLike, groups: NDArray[np.int64]) -> CusTextSpec:
    """Returns CusText's parameter, the largest found that meets the epsilon between words of one group."""
    public = Points.of(points)
    base = CusTextSpec.over(public, groups, epsilon / (1 + 1e-9))

    def achieved(parameter: float) -> float:
        mechanism = CusText(replace(base, epsilon=parameter), public, groups)
        return token_epsilon(within_groups(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=largest(achieved, epsilon, base.epsilon))
