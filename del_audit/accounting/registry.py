"""What each mechanism guarantees: the accountant's half of its row in mechanisms.registry, under the same key."""

from dataclasses import dataclass

from mechanisms.registry import MechanismName


@dataclass(frozen=True, slots=True)
class AccountantRow:
    """What is known of a mechanism's accountant before it is imported.

    figures: "module:function" of (spec, mechanism or None, delta, tokens), which returns rivals.figures.Figures.
    theorem: of docs/theory.md, that the figures are from. calibrated: "module:function" of (epsilon, delta, public
    parts by name), which returns a spec that meets the token epsilon at delta; None where there is none. proved: as
    figures, by ball arithmetic; None where no figure is proved this way.
    """

    key: MechanismName
    figures: str
    theorem: int
    calibrated: str | None = None
    proved: str | None = None


_RIVALS = "del_audit.accounting.rivals"


def _three_losses(key: MechanismName, theorem: int) -> AccountantRow:
    """Returns the row of a mechanism whose every two words have the same three losses."""
    losses, own = f"{_RIVALS}.three_losses", f"{_RIVALS}.{key.replace(' ', '_')}"
    return AccountantRow(key, f"{losses}:figures", theorem, f"{own}:calibrated", f"{losses}:proved")


def _clipped_logits(key: MechanismName) -> AccountantRow:
    """Returns the row of a mechanism that rewrites a document by a language model's clipped logits."""
    figures, own = f"{_RIVALS}.clipped_logits:figures", f"{_RIVALS}.{key.replace(' ', '_')}"
    return AccountantRow(key, figures, 25, f"{own}:calibrated")


ACCOUNTANTS: dict[MechanismName, AccountantRow] = {
    row.key: row
    for row in (
        AccountantRow("del", f"{_RIVALS}.quantizer:figures", 1),
        _three_losses("randomized response", 18),
        _three_losses("subset selection", 24),
        _three_losses("projective geometry", 24),
        _three_losses("coarse words", 24),
        AccountantRow("gaussian", f"{_RIVALS}.gaussian:figures", 19, f"{_RIVALS}.gaussian:calibrated"),
        AccountantRow("metric", f"{_RIVALS}.metric:figures", 20, f"{_RIVALS}.metric:calibrated"),
        AccountantRow("exponential", f"{_RIVALS}.exponential:figures", 21, f"{_RIVALS}.exponential:calibrated"),
        AccountantRow("santext", f"{_RIVALS}.santext:figures", 21, f"{_RIVALS}.santext:calibrated"),
        AccountantRow("custext", f"{_RIVALS}.custext:figures", 22, f"{_RIVALS}.custext:calibrated"),
        AccountantRow("rantext", f"{_RIVALS}.rantext:figures", 22, f"{_RIVALS}.rantext:calibrated"),
        _clipped_logits("dp prompt"),
        _clipped_logits("dp mlm"),
    )
}
"""Every mechanism with a guarantee under its key. DEL's own calibration is del_audit.accounting.calibrate."""


def calibrated_mechanisms() -> dict[MechanismName, str]:
    """Returns the mechanisms that can be calibrated, each with its calibration."""
    return {row.key: row.calibrated for row in ACCOUNTANTS.values() if row.calibrated is not None}
