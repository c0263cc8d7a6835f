"""What a certificate's configuration asks for, as JSON values. Nothing heavy is imported for it."""

import math
from collections.abc import Mapping
from typing import Any

from mechanisms.spec import WORD_BITS

DELTA = 1e-5
"""Where the policy names none."""
CLEAN_BYTES = 4
"""Bytes of a coordinate that is sent as it is, a float32."""
LARGEST_LOSS = WORD_BITS * math.log(2)
"""Nats that one trial can tell at most: the log-odds of the rarest outcome that a word of 32 bits can have."""


def asked_limits(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the policy's limits of epsilon; the configuration is as JSON values."""
    return list(configuration["policy"]["epsilon"])


def quoted_delta(configuration: Mapping[str, Any]) -> float:
    """Returns the delta that the certificate's own epsilons are quoted at: that of the policy's first limit."""
    limits = asked_limits(configuration)
    return float(limits[0]["delta"]) if limits else DELTA


def prompt_tokens_of(configuration: Mapping[str, Any]) -> int:
    """Returns the tokens of the longest prompt: the policy's; of a certificate of format 2, its evaluation's."""
    policy = configuration["policy"]
    return int(policy["prompt_tokens"] if "prompt_tokens" in policy else configuration["evaluation"]["prompt_tokens"])


def sends_of(policy: Mapping[str, Any], unit: str = "token") -> int:
    """Returns how often each token of a unit is sent; a session counts every token that is sent as one of its own."""
    return 1 if unit == "session" else int(policy.get("sends", 1))


def largest_epsilon(unit: str, tokens: int, sends: int, dim: int, trials: int) -> float:
    """Returns the epsilon (nats) that no quantizer of so many coordinates and trials per token exceeds for a unit.

    A limit at or above it is one that nothing can miss.
    """
    return LARGEST_LOSS * dim * trials * tokens * (1 if unit == "session" else sends)
