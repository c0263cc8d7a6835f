"""The certificate as a page to read."""

from del_audit.certificate.report.page import render

__all__ = ["kind_of", "render"]
