"""A certificate's section about the lengths that prompts are filled up to: made, compared, and said in a sentence."""

from collections.abc import Sequence

from del_audit.certificate.model import Section
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.padding import SECTION, VERSION, Padding

FILLER = "\n"
"""What stands behind a prompt that is filled up: the last token of it."""


PADDING = SECTION
"""Its name among a certificate's sections."""


def padding_sections(pad_to: Sequence[int] | None, tokenizer: PreTrainedTokenizerBase) -> dict[str, Section]:
    """Returns the section of a configuration's pad_to; none where it has none."""
    if pad_to is None:
        return {}
    filler = tokenizer(FILLER, add_special_tokens=False).input_ids[-1]
    padding = Padding(tuple(pad_to), int(filler))
    found = {"version": VERSION, "unit": "tokens", "lengths": list(padding.lengths), "filler": padding.filler}
    return {SECTION: Section.model_validate(found)}


def padding_of(section: Section | None) -> Padding | None:
    """Returns what a section says; None where there is none, or one that is not understood here."""
    if section is None:
        return None
    try:
        return Padding.of_section({"version": section.version, **(section.model_extra or {})})
    except UserError:
        return None


def padding_text(section: Section | None) -> str | None:
    """Returns the sentence that stands in the place of the one about lengths; None as padding_of does."""
    padding = padding_of(section)
    if padding is None:
        return None
    *others, last = map(str, padding.lengths)
    lengths = f"{', '.join(others)} or {last}" if others else last
    return (
        f"Every prompt is filled up to {lengths} tokens before it is released; the message shows that length, and each "
        "filled token is charged. Utility was measured on prompts of the last length."
    )
