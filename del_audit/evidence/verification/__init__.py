"""Black-box verification: does a client do what its guarantee says?"""

from del_audit.evidence.verification.battery import verify_mechanism
from del_audit.evidence.verification.finding import Finding
from del_audit.evidence.verification.guarantee import EpsilonEvidence
from del_audit.evidence.verification.power import Detects, SteinNeed, stein_need
from del_audit.evidence.verification.verification import Verification

__all__ = ["Detects", "EpsilonEvidence", "Finding", "SteinNeed", "Verification", "stein_need", "verify_mechanism"]
