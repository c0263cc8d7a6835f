"""What a certificate's configuration asks for, as JSON values. Nothing heavy is imported for it."""

from collections.abc import Mapping
from typing import Any

DELTA = 1e-5
"""Where the policy names none."""


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
