"""The seed of everything random in a certificate: nobody chooses it, and whoever holds the certificate computes it."""

import hashlib
from collections.abc import Mapping

from mechanisms.canonical_json import Json, canonical

LATER_LIMITS = ("context_success_at_most", "list_success_at_most", "meaning_success_at_most")
"""Limits that the policy gained after format 3: where they are not asked for, the seed is as before them."""
SEED_BITS = 32
"""As many as every library takes."""


def seed_of(private_texts: str, policy: Mapping[str, Json]) -> int:
    """Returns the seed that follows from the sha256 of the private split's texts and from the policy, as JSON values.

    Another configuration that is measured on the same people under the same policy draws the same randomness; a new
    seed costs another policy, and its attempt is counted.
    """
    asked = {name: value for name, value in policy.items() if value is not None or name not in LATER_LIMITS}
    digest = hashlib.sha256(b"del-audit seed 1\0" + private_texts.encode() + b"\0" + canonical(asked)).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
