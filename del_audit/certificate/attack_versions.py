"""Whether a certificate still says what its attacks would find today: an attack that became stronger ends it."""

from collections.abc import Mapping
from typing import Any

from attacks.registry import current_name, required_by, rows_of
from del_audit.certificate.checks import missing_attacks
from mechanisms.errors import UserError


def stronger_attacks(body: Mapping[str, Any]) -> list[str]:
    """Returns why a certificate's attacks are out of date here, one line per attack; none where they are current.

    body: of a certificate that keeps to the schema. An attack that is unknown here is a later version's, and current.
    """
    run = [(attack["key"], attack["version"]) for attack in body["inversion"]["attacks"]]
    known = {row.key: row.version for row in rows_of(key for key, _ in run)}
    return [
        f"attack {key} has become stronger since (version {known[current_name(key)]}, the certificate ran {version})"
        for key, version in run
        if known.get(current_name(key), 0) > version
    ]


def require_current_attacks(body: Mapping[str, Any]) -> None:
    """Raises UserError where an attack has become stronger, or where today's level of assurance asks for others too."""
    if reasons := stronger_attacks(body):
        raise UserError(
            f"Expected a certificate of today's attacks, got an older one: {'; '.join(reasons)}: certify again."
        )
    level = body["configuration"]["policy"].get("assurance", "full")
    added = [key for key in required_by(level) if key not in body.get("requires", ())]
    if missing := missing_attacks(body, added):
        told = "; ".join(f"{key} {why}" for key, why in missing)
        raise UserError(
            f"Expected every attack of today's {level} assurance in the certificate, got it without some: {told}. "
            f"Certify again with {', '.join(key for key, _ in missing)} among evaluation.attacks."
        )
