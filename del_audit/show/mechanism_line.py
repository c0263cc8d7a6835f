"""A mechanism in a line, as reports and tables name it."""

from del_audit.show.numbers import number
from mechanisms.description import Description
from mechanisms.registry import mechanism_of
from mechanisms.spec import QuantizerSpec


def mechanism_line(spec: Description) -> str:
    """Returns a mechanism in a line: its kind, and the sizes that matter."""
    if isinstance(spec, QuantizerSpec):
        return f"{spec.bits} bits x {spec.dim} coordinates per token, scale {number(spec.scale)}"
    from mechanisms.rivals._supports import SupportSpec  # heavy, and DEL needs none of it
    from mechanisms.rivals.coarse_words import CoarseWordsSpec

    if isinstance(spec, CoarseWordsSpec):
        sent = f"{spec.inner.words:,} clusters of words, {spec.inner.kind}"
    elif isinstance(spec, SupportSpec):
        sent = f"{spec.kind} over {spec.words:,} words"
    elif (row := mechanism_of(spec)) is not None:
        numbers = {name: value for name, value in spec.to_dict().items() if isinstance(value, int | float)}
        return f"{row.name}: " + ", ".join(f"{name} {number(value)}" for name, value in numbers.items())
    else:
        return str(spec.to_dict().get("kind", "a mechanism of one's own"))
    return f"{sent}, epsilon {number(spec.log_odds)} per token sent"
