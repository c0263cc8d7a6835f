"""What the strongest attack reads of each slice, beside the guess without the release and the share of all tokens."""

from del_audit.certificate.model import Attack, Body
from del_audit.certificate.report.plots.drawing import Plot
from del_audit.certificate.report.plots.rows import Row, Ruler, rows_plot
from del_audit.certificate.report.plots.scale import ends, linear, round_marks
from del_audit.certificate.rows import is_baseline, slice_rows
from del_audit.show.numbers import percent
from del_audit.statistics.figure import Figure


def slices(certificate: Body) -> Plot | None:
    """Returns the share of each slice's tokens that the attack of its largest upper end reads; None without a figure.

    The first row is the strongest attack on all tokens, which may be another one than on a slice.
    """
    inversion = certificate.inversion
    strongest = next(attack for attack in inversion.attacks if attack.name == inversion.strongest)
    guess = next((attack.success for attack in inversion.attacks if is_baseline(attack)), None)
    rows = [_row("all tokens", strongest, strongest.success, guess, own=True)]
    for found in slice_rows(inversion, certificate.configuration.policy):
        if found.strongest and (success := found.strongest[1].success):
            rows.append(_row(found.name, found.strongest[0], success, found.guess))
    if len(rows) == 1:
        return None
    shown = [figure for row in rows for figure in (row.figure, *(row.second or ())[1:])]
    high = min(1.0, 1.05 * ends(shown)[1])
    return rows_plot(
        "slices",
        "What the strongest attack reads of each slice",
        rows,
        linear(0, high),
        round_marks(0, high, 6),
        lambda share: f"{100 * share:.3g}%",
        "share of tokens read; ○ commonest word",
        "Slice",
        [Ruler(strongest.success.value, f"all tokens, {percent(strongest.success.value)}", "ink dashed")],
    )


def _row(name: str, attack: Attack, success: Figure, guess: Figure | None, own: bool = False) -> Row:
    second = ("without the release", guess) if guess else None
    return Row(name, success, "main", own, second, bar=True, by=attack.name)
