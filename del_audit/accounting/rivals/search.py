"""The parameter of a rival that meets a token epsilon, on the safe side of it."""

import math
from collections.abc import Callable
from typing import Final, TypeVar

from del_audit.accounting.rivals.figures import at_most, of_pure
from del_audit.accounting.rivals.three_losses import ThreeLosses
from mechanisms.errors import UserError
from mechanisms.rivals._supports import SupportSpec

Spec = TypeVar("Spec", bound=SupportSpec)
_PASSES: Final = 8
_NEAR: Final = 1e-3


def token_epsilon(pure: float, delta: float) -> float:
    """Returns epsilon at delta of whatever is pure epsilon-private."""
    return of_pure(at_most(pure), delta, 1, "").epsilon.upper


def least(achieved: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Returns about the least x in [low, high] that is found to meet the target; achieved falls with x.

    Raises UserError where not even the highest x meets it.
    """
    if achieved(low) <= target:
        return low
    if (best := achieved(high)) > target:
        raise UserError(f"Expected epsilon >= {best!r}, the least that this mechanism reaches, got epsilon={target}.")
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if achieved(middle) <= target else (middle, high)
    return high


def largest(achieved: Callable[[float], float], target: float, start: float) -> float:
    """Returns about the largest parameter that is found to meet the target, from one expected to: at most 8 passes.

    Raises UserError where none is found.
    """
    low, high, parameter, fell_short = 0.0, math.inf, start, 0.0
    for _ in range(_PASSES):
        reached = achieved(parameter)
        if reached <= target:
            low = parameter
            if reached >= target * (1 - _NEAR) or reached <= fell_short:
                break
            fell_short = reached
        else:
            high = parameter
        following = parameter * target / max(reached, 1e-9) * (1 - _NEAR / 4)
        parameter = following if low < following < high else (low + min(high, 2 * parameter)) / 2
    if not low:
        raise UserError(f"Expected an epsilon that a parameter is found for in {_PASSES} passes, got epsilon={target}.")
    return low


def checked_target(made: Callable[[float], Spec], target: float, delta: float) -> Spec:
    """Returns what is made for an epsilon a little below the target, which rounding of the figures cannot pass.

    Raises UserError where the least noisy release that is made exceeds the target: no smaller one is there.
    """
    spec = made(target * (1 - 1e-12) - 1e-12)
    achieved = ThreeLosses.of(spec).figures(delta, 1, "").epsilon.upper
    if achieved > target:
        raise UserError(f"Expected epsilon >= {achieved!r} for this release, got epsilon={target}.")
    return spec
