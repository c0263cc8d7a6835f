"""What a battery of so many rows would catch, and the fewest that any test needs (Stein's lemma)."""

import math
from dataclasses import asdict, dataclass

from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import binom, norm

from del_audit.evidence.verification.sample import Sample
from mechanisms.spec import WORD_BITS, QuantizerSpec

POWER = 0.9


@dataclass(frozen=True, slots=True)
class Detects:
    """The smallest errors that are caught with probability `power`, from normal and binomial approximations.

    scale_error: of the scale, relative. coordinate_scale_error: of one coordinate's. clean_share: of values that are
    sent as the end that they are at, among all. correlation: of two coordinates. corner_rows: rows that this rests on.
    """

    power: float
    corner_rows: int
    scale_error: float
    coordinate_scale_error: float
    clean_share: float
    correlation: float
    kind: str = "estimated, normal and binomial approximations"

    def to_dict(self) -> dict[str, float | int | str]:
        """Returns the fields under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SteinNeed:
    """Rows at corners that an error in the scale takes.

    plain: log(1 / alpha) over the divergence, the limit of small alpha. at_power: (z of alpha + z of power)^2 over
    twice the divergence, which the best one-sided test needs at this alpha.
    """

    plain: float
    at_power: float


def stein_need(spec: QuantizerSpec, scale_error: float, alpha: float = 1e-3, power: float = POWER) -> SteinNeed:
    """Returns the fewest rows of any test that tells a client with another scale from the claim.

    scale_error: relative, such as -0.01 for a scale 1% below the claim's.
    """
    claimed = spec.threshold_high / (1 << WORD_BITS)
    actual = 0.5 + 0.5 * spec.clip / (spec.scale * (1 + scale_error))
    divergence = float(rel_entr(actual, claimed) + rel_entr(1 - actual, 1 - claimed)) * spec.trials * spec.dim
    quantiles = float(norm.isf(alpha) + norm.ppf(power))
    return SteinNeed(math.log(1 / alpha) / divergence, quantiles**2 / (2 * divergence))


def detects(main: Sample, levels: tuple[float, float]) -> Detects | None:
    """Returns what the rows at corners would catch; None without any.

    levels: at which the scale's test and any other reject at the latest, their shares of alpha.
    """
    corners = main.corners
    spec, (rows, dim) = main.law.spec, corners.counts.shape
    if not rows:
        return None
    cells = levels[1] / (spec.trials + 1)
    pairs = levels[1] / max(1, dim * (dim - 1) // 2)
    return Detects(
        POWER,
        rows,
        _scale_error(spec, rows * dim * spec.trials, levels[0]),
        _scale_error(spec, rows * spec.trials, levels[1] / (3 * dim)),
        _clean_share(float(main.law.masses[-1][-1]), rows * dim, cells),
        float(norm.isf(pairs / 2) + norm.ppf(POWER)) / math.sqrt(rows),
    )


def _scale_error(spec: QuantizerSpec, trials: int, level: float) -> float:
    """Returns the relative error of a scale that so many trials at corners catch."""
    chance = spec.threshold_high / (1 << WORD_BITS)
    shift = float(norm.isf(level / 2) + norm.ppf(POWER)) * math.sqrt(chance * (1 - chance) / trials)
    return shift / (chance - 0.5 + shift)


def _clean_share(mass: float, number: int, level: float) -> float:
    """Returns the share of counts sent as u that shows in how often u comes out; mass: its chance under the claim."""
    threshold = float(binom.isf(level / 2, number, mass)) + 1

    def lacking(share: float) -> float:
        return float(binom.sf(threshold - 1, number, mass + share * (1 - mass))) - POWER

    return float(brentq(lacking, 0.0, 1.0)) if lacking(1.0) > 0 else 1.0
