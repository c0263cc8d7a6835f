"""What each attack reads, against the bound, the policy's limit and the baseline."""

from decimal import ROUND_CEILING

from del_audit.certificate.model import Body
from del_audit.certificate.report.plots.drawing import Plot
from del_audit.certificate.report.plots.rows import Row, Ruler, rows_plot
from del_audit.certificate.report.plots.scale import linear
from del_audit.certificate.rows import is_baseline
from del_audit.show.numbers import percent, upper_end


def attacks(certificate: Body) -> Plot:
    """Returns the share of tokens that each attack reads, with intervals, rarer words below it."""
    inversion, policy = certificate.inversion, certificate.configuration.policy
    rows = [
        Row(
            name=attack.name,
            figure=attack.success,
            style="other" if is_baseline(attack) else "main",
            own=attack.name == inversion.strongest,
            second=("rarer words", attack.rare) if attack.rare else None,
            bar=True,
        )
        for attack in inversion.attacks
    ]
    limits = []
    if inversion.allowed is not None:
        words = f"allowed by the guarantee ({inversion.allowed.theorem})"
        limits.append((upper_end(inversion.allowed), words, "limit solid"))
    if (asked := policy.attack_success_at_most) is not None:
        limits.append((asked, "limit of the policy", "limit dashed"))
    rulers = [Ruler(value, f"{words}, {percent(value, ROUND_CEILING)}", style) for value, words, style in limits]
    return rows_plot(
        "attacks",
        "What each attack reads",
        rows,
        linear(0, 1),
        (0, 0.2, 0.4, 0.6, 0.8, 1),
        lambda share: f"{share:.0%}",
        "share of tokens read; ○ among rarer words",
        "Attack",
        rulers,
    )
