"""What rivals of DEL guarantee, at DEL's units, and their calibration: one file a mechanism.

A mechanism's file has its `figures` and, where there is one, its calibration; its row is in
del_audit.accounting.registry.
"""

from del_audit.accounting.rivals.guarantee import RivalGuarantee, calibrate_rival, rival_guarantee
from del_audit.accounting.rivals.three_losses import response_success_bound

__all__ = ["RivalGuarantee", "calibrate_rival", "response_success_bound", "rival_guarantee"]
