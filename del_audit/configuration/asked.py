"""What a configuration falls back on, and what no limit need be above. Nothing heavy is imported for it."""

import math

from mechanisms.spec import WORD_BITS

DELTA = 1e-5
"""Where the policy names none."""
FEWEST_PROMPTS = 20
"""Prompts below which no interval of the gain keeps its level (docs/evaluation.md): it decides nothing then."""
CLEAN_BYTES = 4
"""Bytes of a coordinate that is sent as it is, a float32."""
LARGEST_LOSS = WORD_BITS * math.log(2)
"""Nats that one trial can tell at most: the log-odds of the rarest outcome that a word of 32 bits can have."""


def largest_epsilon(unit: str, tokens: int, sends: int, dim: int, trials: int) -> float:
    """Returns the epsilon (nats) that no quantizer of so many coordinates and trials per token exceeds for a unit.

    A limit at or above it is one that nothing can miss.
    """
    return LARGEST_LOSS * dim * trials * tokens * (1 if unit == "session" else sends)
