"""DEL's own quantizer: opposite vertices of the cube (theorem 1)."""

from del_audit.accounting.accountant import Accountant
from del_audit.accounting.rivals.figures import Figures
from mechanisms.spec import QuantizerSpec


def figures(spec: QuantizerSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorem 1, as the accountant has it."""
    found = Accountant(spec).figures("prompt", tokens)
    reason = "Exact: opposite vertices are the worst pair (theorem 1)."
    return Figures(found.epsilon(delta), found.pure_epsilon, found.total_variation, reason)
