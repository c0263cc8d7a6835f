"""Black-box verification: does a client do what its guarantee says?"""

from del_audit.evidence.verification.battery import Verification, verify_mechanism
from del_audit.evidence.verification.finding import Finding
from del_audit.evidence.verification.guarantee import EpsilonEvidence
from del_audit.evidence.verification.power import Detects, SteinNeed, stein_need

__all__ = ["Detects", "EpsilonEvidence", "Finding", "SteinNeed", "Verification", "stein_need", "verify_mechanism"]
