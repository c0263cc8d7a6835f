"""Whether a certificate still says what its attacks would find today: an attack that became stronger ends it."""

from collections.abc import Mapping
from typing import Any

from attacks.names import DEFAULT_ATTACKS, VERSIONS
from mechanisms.errors import UserError


def stronger_attacks(body: Mapping[str, Any]) -> list[str]:
    """Returns why a certificate's attacks are out of date here, one line an attack; none where they are current.

    body: of a certificate that keeps to the schema.
    """
    run = {attack["key"]: attack["version"] for attack in body["inversion"]["attacks"]}
    asked = body["configuration"]["evaluation"]["attacks"]  # one that failed its self-test is named in the certificate
    known = {str(key): version for key, version in VERSIONS.items()}
    stronger = [
        f"attack {key} has since become stronger (version {known[key]}, the certificate ran {version})"
        for key, version in run.items()
        if known.get(key, 0) > version
    ]
    unasked = [key for key in DEFAULT_ATTACKS if key not in asked]
    return stronger + [f"attack {key} is run by default, and the certificate did not" for key in unasked]


def require_current_attacks(body: Mapping[str, Any]) -> None:
    """Raises UserError where an attack has become stronger than the certificate's, or was not run."""
    if reasons := stronger_attacks(body):
        raise UserError(
            f"Expected a certificate of today's attacks, got an older one: {'; '.join(reasons)}: certify again."
        )
