"""What a guarantee says about attacks: a bound on the success of guessing a token."""

from del_audit.accounting.accountant import Accountant, _number
from del_audit.accounting.bound import Bound
from del_audit.accounting.trade_off import TradeOff
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

_RELATIVE_ERROR = 1e-12  # of beta: tails are good to 1e-14, and mixing two neighbours adds no more than that again


def inversion_bound(spec: QuantizerSpec, kappa: float, tokens: int = 1) -> Bound:
    """Returns a bound on the success probability of any guess at what was sent, in [kappa, 1]. Theorem 6.

    kappa: the sum of the m largest prior probabilities, for an attacker who names m guesses; in (0, 1]. tokens: how
    many tokens the secret spans (the prior is then over their tuples). The bound is the power, at level kappa, of the
    best test of the cube's centre against a vertex.

    It holds for attackers who know of THIS secret only its prior, besides the release. One who also knows the
    neighbouring words has a prior in context: kappa must then be the average of the prior's peak in context, which is
    unknown; measure that attack instead. A lower confidence limit of a prior-only attack above this bound proves a
    defect of the implementation. Raises UserError for kappa or tokens out of range.
    """
    kappa = _number("kappa", kappa)
    if not 0 < kappa <= 1:
        raise UserError(f"Expected kappa in (0, 1], got kappa={kappa}.")
    accountant = Accountant(spec)
    trials = accountant.trials("token" if tokens == 1 else "phrase", tokens)
    missed = float(TradeOff.of_centre(trials, *accountant.offset).beta(kappa))
    lower, estimate, upper = (1 - missed * (1 + sign * _RELATIVE_ERROR) + sign * -1e-15 for sign in (1, 0, -1))
    return Bound(max(kappa, lower), min(1.0, max(kappa, estimate)), min(1.0, max(kappa, upper)))
