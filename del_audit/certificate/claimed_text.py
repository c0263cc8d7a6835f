"""What a certificate's section of a claimed epsilon says, in a sentence, for verifiers and pages."""

from del_audit.certificate.model import Section

CLAIMED_EPSILON = "claimed_epsilon"
"""Its name among a certificate's sections."""
AUTHOR, COMPUTED = 1, 2
"""Its versions: what an author claims, and what is computed of a mechanism of this package."""


def claimed_text(section: Section) -> str | None:
    """Returns what is claimed of one token; None for a section of another version, or with other fields."""
    found = section.model_extra or {}
    delta, epsilon, kind = (found.get(name) for name in ("delta", "epsilon", "kind"))
    if section.version not in (AUTHOR, COMPUTED) or not isinstance(delta, float) or not isinstance(kind, str):
        return None
    if not isinstance(epsilon, float | int | None):
        return None
    nats = "no epsilon holds between some words" if epsilon is None else f"epsilon {epsilon:.6g}"
    return f"One token, delta {delta:g}: {nats} ({kind[:200]}). No limit rests on it."
