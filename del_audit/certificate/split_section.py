"""A certificate's section about where the two splits came from, if not from a column named split."""

from del_audit.certificate.model import Section
from del_audit.configuration.configuration import DataChoice

SPLIT = "split"
"""Its name among a certificate's sections."""
_VERSION = 1


def split_sections(data: DataChoice) -> dict[str, Section]:
    """Returns the section of what a configuration says about its splits; none where it says nothing."""
    if data.split_column is not None:
        found: dict[str, object] = {"unit": "rows", "split_column": data.split_column}
    elif data.public_share is not None:
        found = {"unit": "share of groups", "public_share": data.public_share, "drawn_by": data.group_column or "text"}
    else:
        return {}
    return {SPLIT: Section.model_validate({"version": _VERSION, **found})}


def split_text(section: Section) -> str | None:
    """Returns what a section says, in a sentence; None for one of another version, or with other fields."""
    keys, drawn = split_keys(section), (section.model_extra or {}).get("drawn_by")
    if "split_column" in keys:
        return f"The two splits are named by the column {str(keys['split_column'])[:200]!r}."
    if "public_share" in keys and isinstance(drawn, str):
        return (
            f"The two splits were drawn by the hash of each row's {drawn[:200]!r}: a share of {keys['public_share']:g} "
            "of them is public."
        )
    return None


def split_keys(section: Section | None) -> dict[str, str | float]:
    """Returns the keys of a configuration's data that a section stands for."""
    if section is None or section.version != _VERSION:
        return {}
    extra = section.model_extra or {}
    kinds = {"split_column": str, "public_share": float}
    return {name: extra[name] for name, kind in kinds.items() if isinstance(extra.get(name), kind)}
