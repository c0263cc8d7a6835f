"""What a battery of so many outputs of a word mechanism would catch."""

import math
from dataclasses import dataclass

from scipy.stats import norm

from del_audit.evidence.verification.power import POWER
from del_audit.evidence.verification.words.sample import WordSample
from del_audit.evidence.verification.words.sweep import Sweep
from del_audit.evidence.verification.words.uniform import BUCKETS


@dataclass(frozen=True, slots=True)
class WordDetects:
    """The smallest errors that are caught with probability `power`, from normal approximations.

    epsilon_error: by which epsilon is larger, nats. bucket_error: of how often outputs outside their word's support lie
    in one of the buckets, relative. swept: words that were tried one by one. outputs: rows that this rests on.
    """

    power: float
    outputs: int
    epsilon_error: float
    bucket_error: float
    swept: int
    kind: str = "estimated, normal approximations"


def detects(main: WordSample, swept: Sweep, levels: tuple[float, float]) -> WordDetects | None:
    """Returns what the rows would catch; None without any.

    levels: at which the test of the chance and any other reject at the latest, their shares of alpha.
    """
    rows, law = len(main), main.law
    if not rows:
        return None
    spread = max(law.chance * (1 - law.chance), 2.0**-64)
    numbers = max(1.0, rows * (1 - law.chance) * law.sizes[0])
    return WordDetects(
        POWER,
        rows,
        _quantiles(levels[0]) / math.sqrt(rows * spread),
        _quantiles(levels[1] / (6 * BUCKETS)) * math.sqrt(BUCKETS / numbers),
        len(swept.words),
    )


def _quantiles(level: float) -> float:
    return float(norm.isf(level / 2) + norm.ppf(POWER))
