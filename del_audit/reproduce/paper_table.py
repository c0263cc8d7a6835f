"""A reproduced table as text, and the paired differences between its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from del_audit.evidence.utility import OTHER, RELEASED
from del_audit.reproduce.protocol import Protocol
from del_audit.show.console import table_width
from del_audit.show.numbers import at_most, interval, number, percent
from del_audit.statistics.comparison import compare
from mechanisms.canonical_json import Json

_UNITS = {"coherence": "cosine", "perplexity": "nats a token", "accuracy": "share of rows right"}


def differences(rows: Sequence[Mapping[str, Any]], protocol: Protocol, seed: int) -> list[dict[str, Json]]:
    """Returns for each target each row less the first one, on the same prompts, with intervals and corrected tests.

    Perplexity's are differences of the loss, nats a token; for text pairs they are of accuracy.
    """
    value = "accuracy" if protocol.task == "pairs" else protocol.headline
    found = []
    for target in dict.fromkeys(row["target"] for row in rows if row["target"] is not None):
        runs = {
            row["label"]: row["utility"]
            for row in rows
            if row["target"] == target and row["reached"] and value in row["utility"]["values"]
        }
        if len(runs) < 2:
            continue
        first = next(iter(runs))
        compared = compare(
            {name: run["values"][value] for name, run in runs.items()},
            seed,
            runs[first]["documents"],
            reference=first,
            unit=_UNITS[value],
        )
        found.append({"target": target, "value": value, **compared.to_dict()})
    return found


def print_table(document: Mapping[str, Any]) -> None:
    """Prints header, lines and differences of a result, as wide as the terminal, or 160 columns in a file."""
    width = table_width()
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    how = {"asr": "attack success", "mu": "mu", "epsilon": "exact token epsilon"}[document["match"]]
    lacking = "" if document["matched_as_in_the_paper"] else " (not in the paper)"
    console.print(f"Table {document['table']}: {document['title']}, matched by {how}{lacking}")
    for note in document["notes"]:
        console.print(f"  {note}")
    for line in document["paper"]:
        console.print(f"  In the paper: {line}.")
    pairs = document["table"] in (3, 4)
    table = Table(box=box.SIMPLE)
    utility = ("accuracy", "AUC", "AUC, another's release") if pairs else ("COH", "COH, another's prompt", "PPL")
    for name in ("mechanism", "bits", "dim", how, "attack", "+-", "MAP", "epsilon <=", *utility):
        table.add_column(name, justify="left" if name == "mechanism" else "right")
    for row in document["cells"]:
        table.add_row(*_line(row, pairs))
    console.print(table)
    for row in document["cells"]:
        if not row["reached"]:
            console.print(f"  {row['label']}: not reached. {row['reason']}")
    for one in document["differences"]:
        for gap in one["differences"]:
            mean = gap["mean"]
            console.print(
                f"  {gap['first']} less {gap['second']}: {mean['value']:+.3f} [{mean['lower']:+.3f}, "
                f"{mean['upper']:+.3f}] {one['unit']}, p {gap['holm']:.2g} (Holm)"
            )
    console.print("  Epsilon is an upper bound, rounding included; all else is estimated, with 95% intervals.")


def _line(row: Mapping[str, Any], pairs: bool) -> list[str]:
    """Returns the columns of one cell."""
    size = ["" if row[name] is None else str(row[name]) for name in ("bits", "dim")]
    target = "" if row["target"] is None else f"{row['target']:g}"
    return [row["row"]["name"], *size, target, *_privacy(row), *(_task(row) if pairs else _text(row))]


def _privacy(row: Mapping[str, Any]) -> list[str]:
    if "asr" not in row:
        return ["", "", "", ""]
    tolerance = percent(row["tolerance"]) if "tolerance" in row else ""
    epsilon = "infinite" if row["epsilon"]["upper"] is None else at_most(row["epsilon"])
    by_law = "none" if row["asr_map"] is None else percent(row["asr_map"]["value"])
    return [interval(row["asr"]), tolerance, by_law, epsilon]


def _text(row: Mapping[str, Any]) -> list[str]:
    if not row["reached"]:
        return ["not reached", "", ""]
    found = row["utility"]
    perplexity = number(found["perplexity"][RELEASED]["value"]) if "perplexity" in found else ""
    return [interval(found["coherence"][RELEASED]), interval(found["coherence"][OTHER]), perplexity]


def _task(row: Mapping[str, Any]) -> list[str]:
    if not row["reached"]:
        return ["not reached", "", ""]
    found = row["utility"]
    other = found["controls"].get("other")
    return [interval(found["accuracy"]), interval(found["auc"]), "" if other is None else interval(other["auc"])]
