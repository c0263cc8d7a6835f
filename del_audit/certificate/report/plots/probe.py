"""A probe's balanced accuracy on the release, between another user's release and clean text."""

from del_audit.certificate.model import Body, Probe
from del_audit.certificate.report.plots.drawing import Plot
from del_audit.certificate.report.plots.rows import Row, Ruler, rows_plot
from del_audit.certificate.report.plots.scale import linear
from del_audit.show.numbers import percent


def attribute(certificate: Body) -> Plot | None:
    """Returns how well the attribute that must not leak is told."""
    return _probe("attribute", certificate.attribute)


def task(certificate: Body) -> Plot | None:
    """Returns how well the server's task is done."""
    return _probe("task", certificate.utility.task)


def _probe(name: str, inference: Probe | None) -> Plot | None:
    if inference is None:
        return None
    rows = [
        Row("another user's release", inference.other_users_release_balanced_accuracy, "muted"),
        Row("the release", inference.balanced_accuracy, "main", own=True),
        Row("clean text", inference.clean_balanced_accuracy, "muted"),
    ]
    chance = Ruler(inference.chance, f"chance, {percent(inference.chance)}", "muted dashed")
    return rows_plot(
        name,
        f"Telling {inference.column}",
        rows,
        linear(0, 1),
        (0, 0.2, 0.4, 0.6, 0.8, 1),
        lambda share: f"{share:.0%}",
        "balanced accuracy",
        "What the probe sees",
        [chance],
    )
