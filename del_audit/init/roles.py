"""Which column is which: proposals from names and values, and what was asked for in their place."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

from del_audit.init.columns import SHORTEST_TEXT, ColumnFacts
from mechanisms.cell_text import listed
from mechanisms.errors import UserError

NONE = "none"
"""What stands for no column."""
PUBLIC = ("train", "training", "public")
PRIVATE = ("test", "private", "validation", "valid", "dev", "eval")
"""Names of splits, lower case; the first that is there is taken."""
_PERSON = re.compile(r"(user|author|patient|person|customer|reviewer|speaker|client|member|writer|account|owner)", re.I)
_ATTRIBUTE = re.compile(
    r"(gender|sex|age|race|ethnic|religio|nationalit|condition|diagnos|disease|disab|orient|politic|party|income|status"
    r"|marital|birth|occupation|profession|job|education|country|city|location|region)",
    re.I,
)
_TASK = re.compile(r"(label|rating|stars|score|sentiment|class|category|topic|intent|target|grade|priority)", re.I)


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns by what they are for; None where there is none."""

    text: str
    split: str | None = None
    person: str | None = None
    attribute: str | None = None
    task: str | None = None

    def changed(self, role: str, column: str | None) -> "Roles":
        """Returns them with another column in one role; None is no text, which every table needs."""
        return Roles(**{**asdict(self), role: column})


OPTIONAL = tuple(field.name for field in fields(Roles) if field.name != "text")


def proposed(facts: Mapping[str, ColumnFacts], asked: Mapping[str, str | None]) -> Roles:
    """Returns the role of each column: as asked, else as its name and its values suggest.

    asked: by role; None leaves it to the proposal, "none" says that there is none.
    Raises UserError for a column that is not there or that cannot have its role, one asked for twice, and where no
    column, or more than one, looks like the documents.
    """
    for role, name in asked.items():
        if name is not None and name != NONE and name not in facts:
            raise UserError(f"Expected --{role} among {listed(facts)}, got {name!r}.")
    text = asked.get("text")
    roles = Roles(_text(facts) if text is None else text)
    for role in OPTIONAL:
        name = asked.get(role)
        if name is None:
            taken = {getattr(roles, each) for each in Roles.__dataclass_fields__}
            reserved = {other for other in asked.values() if other is not None}
            name = _found(role, {key: fact for key, fact in facts.items() if key not in taken | reserved})
        roles = roles.changed(role, None if name == NONE else name)
    require_roles(facts, roles)
    return roles


def require_roles(facts: Mapping[str, ColumnFacts], roles: Roles) -> None:
    """Raises UserError for a column that cannot have its role, and for one that has two."""
    seen: dict[str, str] = {}
    for role in Roles.__dataclass_fields__:
        name = getattr(roles, role)
        if name is None:
            continue
        if name in seen:
            raise UserError(f"Expected another column for --{role} than for --{seen[name]}, got {name!r} for both.")
        seen[name] = role
        _RULES[role](facts[name])


def _text(facts: Mapping[str, ColumnFacts]) -> str:
    """Returns the one column of documents."""
    texts = sorted((fact for fact in facts.values() if fact.is_text), key=lambda fact: -fact.typical)
    if "text" in [fact.name for fact in texts]:
        return "text"
    if not texts:
        raise UserError(
            f"Expected a column of documents, text of typically {SHORTEST_TEXT} characters or more in every row, got "
            f"none among {listed(facts)}: name it with --text, and take out rows without text."
        )
    if len(texts) > 1 and 2 * texts[1].typical > texts[0].typical:
        raise UserError(
            f"Expected --text, since {texts[0].name!r} and {texts[1].name!r} both look like documents, got none: name "
            "one of them."
        )
    return texts[0].name


def _found(role: str, facts: Mapping[str, ColumnFacts]) -> str | None:
    """Returns the column that looks most like a role, None where none does."""
    matches: dict[str, Callable[[ColumnFacts], bool]] = {
        "split": lambda fact: "split" in fact.name.lower() and split_names(fact) is not None,
        "person": lambda fact: bool(_PERSON.search(fact.name)) and fact.is_names,
        "attribute": lambda fact: bool(_ATTRIBUTE.search(fact.name)) and fact.is_classes,
        "task": lambda fact: bool(_TASK.search(fact.name)) and fact.is_classes,
    }
    fitting = [fact for fact in facts.values() if matches[role](fact)]
    return min(fitting, key=lambda fact: len(fact.values) or fact.rows).name if fitting else None


def split_names(fact: ColumnFacts) -> tuple[str, str] | None:
    """Returns which of a column's values are the public and the private split; None where they do not say so."""
    by_name = {value.lower(): value for value in fact.values}
    public = next((by_name[name] for name in PUBLIC if name in by_name), None)
    private = next((by_name[name] for name in PRIVATE if name in by_name), None)
    return None if public is None or private is None else (public, private)


def _require_text(fact: ColumnFacts) -> None:
    if not fact.strings or fact.filled < fact.rows:
        raise UserError(
            f"Expected text in every row of --text {fact.name!r}, got {fact.filled} of {fact.rows} rows with "
            f"{'text' if fact.strings else 'a value, not all of them text'}. Take the others out, or name another "
            "column."
        )


def _require_split(fact: ColumnFacts) -> None:
    if split_names(fact) is None:
        raise UserError(
            f"Expected --split {fact.name!r} to hold one of {', '.join(PUBLIC)} and one of {', '.join(PRIVATE)}, got "
            f"{listed(fact.values) if fact.values else f'{fact.distinct} different values'}. Rename two of them, or "
            "give --split none: the splits are then drawn."
        )


def _require_person(fact: ColumnFacts) -> None:
    if fact.filled < fact.rows:
        raise UserError(
            f"Expected a value in every row of --person {fact.name!r}, got {fact.filled} of {fact.rows}. Fill them, or "
            "take these rows out: nobody can tell whose they are."
        )


def _require_classes(role: str) -> Callable[[ColumnFacts], None]:
    def require(fact: ColumnFacts) -> None:
        if not fact.is_classes:
            raise UserError(
                f"Expected --{role} {fact.name!r} to have a few values that each stand in several rows, got "
                f"{fact.distinct} different values in {fact.filled} rows. Name another column, or none."
            )

    return require


_RULES: dict[str, Callable[[ColumnFacts], None]] = {
    "text": _require_text,
    "split": _require_split,
    "person": _require_person,
    "attribute": _require_classes("attribute"),
    "task": _require_classes("task"),
}
