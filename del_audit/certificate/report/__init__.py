"""The certificate as a page to read."""

from del_audit.certificate.report.page import kind_of, render

__all__ = ["kind_of", "render"]
