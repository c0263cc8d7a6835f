"""Perplexity and coherence in each condition: what the server sees instead of the released prompt."""

from del_audit.certificate.model import Body, Figures
from del_audit.certificate.report.plots.drawing import Plot
from del_audit.certificate.report.plots.rows import Row, rows_plot
from del_audit.certificate.report.plots.scale import ends, linear, logarithmic, round_marks, round_powers
from del_audit.certificate.rows import by_condition

SLIDER = "What the server sees"


def perplexity(certificate: Body) -> Plot:
    """Returns the perplexity of the true response in each condition, lower is better."""
    figures = certificate.utility.perplexity
    low, high = ends(figures.values())
    low, high = low / 1.05, high * 1.05
    return rows_plot(
        "perplexity",
        "Perplexity of the true response",
        _rows(figures),
        logarithmic(low, high),
        round_powers(low, high),
        lambda value: f"{value:,.4g}",
        "perplexity per token, lower is better",
        SLIDER,
    )


def coherence(certificate: Body) -> Plot:
    """Returns the cosine of each condition's answer with the true response."""
    figures = certificate.utility.coherence
    low, high = ends(figures.values())
    low, high = min(low, 0.0), high + 0.02
    return rows_plot(
        "coherence",
        "Coherence with the true response",
        _rows(figures),
        linear(low, high),
        round_marks(low, high),
        lambda value: f"{value:g}",
        "cosine of sentence embeddings, higher is nearer",
        SLIDER,
    )


def _rows(figures: Figures) -> list[Row]:
    return [
        Row(name, figures[name], "main" if name == "released prompt" else "muted", own=name == "released prompt")
        for name in by_condition(figures)
    ]
