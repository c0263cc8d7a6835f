"""The result as tables, for a terminal and for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from del_audit.frontier.measured import Row
from del_audit.show.numbers import at_most, interval, number, printable

NONE = "-"


@dataclass(frozen=True, slots=True)
class Columns:
    """A table: its title, its heads, and one line of texts per point."""

    title: str
    heads: tuple[str, ...]
    lines: list[tuple[str, ...]]


def first_columns(rows: Sequence[Row], dominated: Mapping[str, Sequence[str]], prompt_tokens: int) -> Columns:
    """Returns the table of the first stage: of every point, with why it went no further. dominated: by its name."""
    heads = (
        "epsilon of a token",
        "mechanism",
        f"epsilon of {prompt_tokens} tokens",
        "bytes per token",
        "MAP recovers",
        "information, nats per token",
        "dominated by",
        "note",
    )
    return Columns("What every point sends, and what MAP recovers", heads, [_first(row, dominated) for row in rows])


def _first(row: Row, dominated: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    head = (f"{row.point.epsilon:g}", row.point.named.name)
    if row.first is None:
        return (*head, *[NONE] * 5, row.why)
    return (
        *head,
        at_most(row.first.prompt),
        number(row.first.bytes_per_token),
        interval(row.first.map),
        interval(row.first.information),
        _by(dominated, row),
        row.why or NONE,
    )


def second_columns(rows: Sequence[Row], dominated: Mapping[str, Sequence[str]], attribute: str | None) -> Columns:
    """Returns the table of the second stage: of every point that was attacked in full. attribute: its column."""
    heads = (
        "epsilon of a token",
        "mechanism",
        "strongest attack recovers",
        "up to meaning",
        "lift, left side known",
        "picked out of a list",
        "gain, nats per token",
        "share of the clean gain",
        *([f"advantage on {printable(attribute)}"] if attribute else []),
        "dominated by",
    )
    return Columns(
        "What all attacks recover, and what is left to use",
        heads,
        [_second(row, dominated) for row in rows if row.second],
    )


def _second(row: Row, dominated: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    second = row.second
    assert second is not None
    listed, share, attribute = second.listed, second.share, second.attribute
    return (
        f"{row.point.epsilon:g}",
        row.point.named.name,
        f"{interval(second.strongest.success)}, {second.strongest.key}",
        interval(second.meaning),
        interval(second.knowing("left").lift),
        f"{interval(listed.success)}, {listed.candidates} texts" if listed else NONE,
        interval(second.gain),
        interval(share) if share else NONE,
        *([interval(attribute)] if attribute else []),
        _by(dominated, row),
    )


def _by(dominated: Mapping[str, Sequence[str]], row: Row) -> str:
    first, *more = dominated[row.point.name] or [NONE]
    return f"{first} and {len(more)} more" if more else first


def print_tables(tables: Sequence[Columns], document: Mapping[str, Any], console: Console) -> None:
    """Prints the tables, and what their figures are."""
    for columns in tables:
        heads = (Column(head, overflow="fold") for head in columns.heads)
        table = Table(*heads, title=columns.title, title_justify="left", box=box.SIMPLE)
        for line in columns.lines:
            table.add_row(*line)
        console.print(table)
    console.print(
        f"Epsilon is proved: of one token at delta {document['delta']:g} for DEL, pure for the others. "
        "Everything measured is an estimate with its 95% interval over documents. "
        f"Assurance {document['assurance']}, seed {document['seed']}."
    )
