"""Exact guarantees of the stochastic n-bit quantizer: numpy and scipy only, never torch."""

from del_audit.accounting.accountant import UNITS, Accountant, Guarantee, Unit, guarantee
from del_audit.accounting.bound import Bound, Kind
from del_audit.accounting.gaussian_limit import GaussianLimit
from del_audit.accounting.log_tail import MAX_TRIALS, log_lower_tail, log_tail_error, log_upper_tail
from del_audit.accounting.risk import inversion_bound
from del_audit.accounting.trade_off import Enclosure, TradeOff

__all__ = [
    "MAX_TRIALS",
    "UNITS",
    "Accountant",
    "Bound",
    "Enclosure",
    "GaussianLimit",
    "Guarantee",
    "Kind",
    "TradeOff",
    "Unit",
    "guarantee",
    "inversion_bound",
    "log_lower_tail",
    "log_tail_error",
    "log_upper_tail",
]
