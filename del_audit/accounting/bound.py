"""Accounting's name for del_audit/bound.py, which is apart so that reading a figure starts no accountant."""

from del_audit.bound import Bound, Kind

__all__ = ["Bound", "Kind"]
