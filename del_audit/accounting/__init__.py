"""Exact guarantees of the stochastic n-bit quantizer: numpy and scipy only, never torch.

The readers of files are imported where they are used: session_file needs pydantic, codes_file may need safetensors.
"""

from del_audit.accounting.accountant import UNITS, Accountant, Guarantee, Unit, guarantee
from del_audit.accounting.calibration import BitsChoice, Calibration, Target, calibrate, smallest_bits
from del_audit.accounting.composition import Composition, Losses, Trials
from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.gaussian_limit import GaussianLimit
from del_audit.accounting.log_tail import MAX_TRIALS, log_lower_tail, log_tail_error, log_upper_tail
from del_audit.accounting.rigorous import ProvedTradeOff
from del_audit.accounting.risk import (
    attribute_advantage,
    inversion_bound,
    membership_advantage,
    prior_peak,
    success_bound,
)
from del_audit.accounting.session import Part, Session
from del_audit.accounting.trade_off import Enclosure, TradeOff
from del_audit.statistics.bound import Bound, Kind

__all__ = [
    "MAX_TRIALS",
    "UNITS",
    "Accountant",
    "BitsChoice",
    "Bound",
    "Calibration",
    "Composition",
    "ComputedTradeOff",
    "Enclosure",
    "GaussianLimit",
    "Guarantee",
    "Kind",
    "Losses",
    "Part",
    "ProvedTradeOff",
    "Session",
    "Target",
    "TradeOff",
    "Trials",
    "Unit",
    "attribute_advantage",
    "calibrate",
    "guarantee",
    "inversion_bound",
    "log_lower_tail",
    "log_tail_error",
    "log_upper_tail",
    "membership_advantage",
    "prior_peak",
    "smallest_bits",
    "success_bound",
]
