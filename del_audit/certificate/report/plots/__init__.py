"""The report's plots: inline SVG in the page's colours, and what a pointer or a slider reads of each.

One row a plot: its name, and the function that draws it, or returns None where the certificate has nothing for it.
"""

from collections.abc import Callable

from del_audit.certificate.model import Body
from del_audit.certificate.report.plots.attacks import attacks
from del_audit.certificate.report.plots.bits import bits
from del_audit.certificate.report.plots.conditions import coherence, perplexity
from del_audit.certificate.report.plots.drawing import Panel, Plot
from del_audit.certificate.report.plots.probe import attribute, task
from del_audit.certificate.report.plots.slices import slices
from del_audit.certificate.report.plots.trade_off import trade_off

PLOTS: tuple[tuple[str, Callable[[Body], Plot | None]], ...] = (
    ("trade_off", trade_off),
    ("attacks", attacks),
    ("slices", slices),
    ("attribute", attribute),
    ("task", task),
    ("perplexity", perplexity),
    ("coherence", coherence),
    ("bits", bits),
)

__all__ = ["PLOTS", "Panel", "Plot", "draw"]


def draw(certificate: Body) -> dict[str, Plot]:
    """Returns each plot of a certificate under its name, in the page's order."""
    drawn = ((name, function(certificate)) for name, function in PLOTS)
    return {name: plot for name, plot in drawn if plot is not None}
