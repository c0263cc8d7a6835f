"""What `del-audit init` does: a table in, a proposal of what each column is for, and a configuration that runs out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.prompt import Prompt
from rich.table import Table

from del_audit.configuration.configuration import DataChoice, load_configuration
from del_audit.init.columns import ColumnFacts, facts_of
from del_audit.init.roles import NONE, OPTIONAL, Roles, proposed, require_roles, split_names
from del_audit.init.sizes import sizes_of
from del_audit.init.written import Proposal, yaml_of
from del_audit.service.splits import read_splits
from del_audit.show.console import printable, table_width
from mechanisms.errors import UserError
from mechanisms.files import write_file
from mechanisms.tables import read_table
from mechanisms.user_path import user_path

CLASSES = 5
"""Commonest classes of an attribute that are kept."""
_SAID = {
    "text": "the documents",
    "split": "which rows are public and which stand for users",
    "person": "whose each row is",
    "attribute": "what must not leak",
    "task": "what the server is meant to tell",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says. asked: a column or "none" by role, None where it is not said. ask: on a terminal."""

    asked: Mapping[str, str | None]
    model: str
    mechanism: str
    public_share: float
    force: bool = False
    ask: bool = False


def init(data: Path, out: Path | None, choices: Choices) -> int:
    """Writes a configuration for a table, prints what it rests on, and returns 0.

    Raises UserError for a table that cannot be read, columns that cannot have their roles, a file that is there and is
    not to be replaced, and for a configuration that would not run.
    """
    if not 0 < choices.public_share < 1:
        raise UserError(f"Expected --public-share in (0, 1), got {choices.public_share}.")
    name = _name(data)
    path = out if out is not None else Path(f"{name}.yaml")
    if path.exists() and not choices.force:
        raise UserError(f"Expected --out to be a file that does not exist yet, got {str(path)!r}: give --force too.")
    facts = facts_of(read_table(user_path(str(data), "data")).columns)
    console = Console(width=table_width(), highlight=False)
    roles = proposed(facts, choices.asked)
    if choices.ask:
        roles = _confirmed(console, facts, roles, choices.asked)
    console.print(_table(facts, roles))
    proposal = _proposal(data, name, facts, roles, choices)
    _require_runs(proposal)
    write_file(path, yaml_of(proposal).encode(), new=not choices.force, what="the configuration")
    for line in _next_steps(path, proposal):
        console.print(line)
    return 0


def _name(data: Path) -> str:
    """Returns a configuration's name after a file's."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", data.name.partition(".")[0]).strip("-_")[:64]
    return stem or "my-data"


def _confirmed(
    console: Console, facts: Mapping[str, ColumnFacts], roles: Roles, asked: Mapping[str, str | None]
) -> Roles:
    """Returns the roles as somebody at the terminal wants them: Enter takes what is proposed."""
    for role in ("text", *OPTIONAL):
        if asked.get(role) is not None:
            continue
        none = [] if role == "text" else [NONE]
        chosen = Prompt.ask(
            f"Column for --{role}, {_SAID[role]}",
            console=console,
            choices=[*facts, *none],
            default=getattr(roles, role) or NONE,
            show_choices=len(facts) < 12,
        )
        changed = roles.changed(role, None if chosen == NONE else chosen)
        require_roles(facts, changed)
        roles = changed
    return roles


def _table(facts: Mapping[str, ColumnFacts], roles: Roles) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("column", "rows with a value", "different values", "used as"):
        table.add_column(title, justify="left" if title in ("column", "used as") else "right")
    used = {getattr(roles, role): role for role in Roles.__dataclass_fields__ if getattr(roles, role) is not None}
    for name, fact in facts.items():
        said = f"--{used[name]}: {_SAID[used[name]]}" if name in used else "not used"
        table.add_row(printable(name), f"{fact.filled:,} of {fact.rows:,}", f"{fact.distinct:,}", said)
    return table


def _proposal(data: Path, name: str, facts: Mapping[str, ColumnFacts], roles: Roles, choices: Choices) -> Proposal:
    """Returns what the file will say; raises UserError as read_splits and sizes_of do."""
    named = split_names(facts[roles.split]) if roles.split is not None else None
    public, private = named or ("train", "test")
    parts = read_splits(
        DataChoice(
            corpus=str(data),
            text_column=roles.text,
            group_column=roles.person,
            split_column=roles.split,
            public_share=choices.public_share if roles.split is None else None,
            public_split=public,
            private_split=private,
        )
    )
    classes = min(CLASSES, len(facts[roles.attribute].values)) if roles.attribute is not None else 0
    sizes = sizes_of(parts.private.texts, parts.private_groups)
    share = choices.public_share
    return Proposal(name, str(data), roles, (public, private), classes, sizes, choices.model, choices.mechanism, share)


def _require_runs(proposal: Proposal) -> None:
    """Raises UserError where the file would be refused, such as for a model that is not there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{proposal.name}.yaml"
        path.write_text(yaml_of(proposal), encoding="utf8")
        load_configuration(path)


def _next_steps(path: Path, proposal: Proposal) -> Iterator[str]:
    sizes = proposal.sizes
    people = "people" if proposal.roles.person is not None else "rows, each taken for a person of its own,"
    yield f"\nWritten: {path}"
    yield (
        f"The private part has {sizes.people:,} {people} of which {sizes.long_enough:,} have text for a prompt of "
        f"{sizes.prompt} tokens and an answer."
    )
    if sizes.people < sizes.needed:
        yield f"About {sizes.needed} decide the limit on attacks: with fewer the verdict may be inconclusive."
    if proposal.roles.person is None:
        yield "If somebody has several rows, name the column that says who with --person: intervals count people."
    yield "\nNext:"
    yield f"  del-audit certify {path} --quick   # minutes: the short list of attacks"
    yield f"  del-audit certify {path}           # every attack: what a client accepts"
