"""Tests for a mechanism of one's own: does it keep the contract, and does it release what its law says?"""

from del_audit.testing.conformance import check_mechanism, require_conformance
from del_audit.testing.report import Check, Report

__all__ = ["Check", "Report", "check_mechanism", "require_conformance"]
