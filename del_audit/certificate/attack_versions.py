"""Whether a certificate still says what its attacks would find today: an attack that became stronger ends it."""

from attacks.registry import INFORMED_VERSIONS, current_name, required_by, rows_of
from del_audit.certificate.checks import missing_attacks
from del_audit.certificate.model import Findings
from mechanisms.errors import UserError


def stronger_attacks(findings: Findings) -> list[str]:
    """Returns why a certificate's attacks are out of date here, one line per attack; none where they are current.

    An attack that is unknown here is a later version's, and current.
    """
    run = [(attack.key, attack.version) for attack in findings.inversion.attacks]
    known = {row.key: row.version for row in rows_of(key for key, _ in run)} | INFORMED_VERSIONS
    if knowing := findings.knowing:
        run += [("known-context", found.version) for found in list(knowing.contexts.values())[:1]]
        run += [("candidate-list", found.version) for found in knowing.lists[:1]]
    return [
        f"attack {key} has become stronger since (version {known[current_name(key)]}, the certificate ran {version})"
        for key, version in run
        if known.get(current_name(key), 0) > version
    ]


def require_current_attacks(findings: Findings) -> None:
    """Raises UserError where an attack has become stronger, or where today's level of assurance asks for others too."""
    if reasons := stronger_attacks(findings):
        raise UserError(
            f"Expected a certificate of today's attacks, got an older one: {'; '.join(reasons)}: certify again."
        )
    level = findings.configuration.policy.assurance
    added = [key for key in required_by(level, findings.has_codes) if key not in findings.requires]
    if missing := missing_attacks(findings, added):
        told = "; ".join(f"{key} {why}" for key, why in missing)
        raise UserError(
            f"Expected every attack of today's {level} assurance in the certificate, got it without some: {told}. "
            f"Certify again with {', '.join(key for key, _ in missing)} among evaluation.attacks."
        )
