"""What `del-audit verify-mechanism` prints: every test with its evidence, what was not tested, and the verdict."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from del_audit.show.console import printable, table_width
from del_audit.show.numbers import at_most, number, percent


def print_report(document: Mapping[str, Any]) -> None:
    """Prints a report: as wide as the terminal, or 160 columns in a file."""
    width = table_width()
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    spec, client = document["spec"], document["client"]
    _line(console, f"{client['kind']}: {client['name']}", "bold", indent=0)
    claim = f"{spec['bits']} bits for each of {spec['dim']} numbers a token, clip {spec['clip']:g}, scale "
    _line(console, f"Held to: {claim}{number(spec['scale'])}")
    _line(console, f"{document['rows']:,} rows in {document['calls']:,} calls, inputs of seed {document['seed']}")
    console.print(_findings(document["findings"]))
    _heading(console, "Epsilon of a token")
    for line in _epsilon(document["epsilon"]):
        _line(console, line)
    _heading(console, "What so many rows catch")
    _line(console, _detects(document["detects"]))
    if document["not_tested"]:
        _heading(console, "Not tested")
        for part in document["not_tested"]:
            _line(console, f"- {part['what']}: {part['why']}")
    for note in document["notes"]:
        _line(console, note)
    _verdict(console, document)


def _findings(findings: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
    for head in ("group", "test", "p", "evidence", ""):
        table.add_column(head, justify="right" if head == "p" else "left", overflow="fold")
    last = ""
    for finding in findings:
        group = finding["group"] if finding["group"] != last else ""
        last = finding["group"]
        verdict = Text("REJECTED", "bold red") if finding["rejected"] else Text("passed")
        cells = (group, finding["name"], number(finding["p_value"], 2), finding["evidence"])
        table.add_row(*(Text(printable(cell)) for cell in cells), verdict)
    return table


def _epsilon(evidence: Mapping[str, Any] | None) -> list[str]:
    if evidence is None:
        return ["Nothing was released."]
    two, one, claimed = evidence["two_samples"], evidence["one_run"], evidence["claimed"]
    least = [number(limit["value"], rounding=ROUND_FLOOR) for limit in (two, one)]
    confidence, delta = percent(two["confidence"]), number(two["delta"])
    return [
        f"at least {least[0]} nats, by errors of tests between opposite corners, {two['sample']:,} rows each",
        f"at least {least[1]} nats, by guesses of the side of {one['sample']:,} tokens in one run",
        f"at most {at_most(claimed)} nats, exact, by the claim; all at delta {delta}, the lower limits at {confidence}",
    ]


def _detects(detects: Mapping[str, Any] | None) -> str:
    if detects is None:
        return "Nothing: no row at a corner was released."
    scale, one, clean = (
        percent(detects[name], ROUND_CEILING) for name in ("scale_error", "coordinate_scale_error", "clean_share")
    )
    correlation = number(detects["correlation"], 2, ROUND_CEILING)
    return (
        f"With probability {detects['power']:g} ({detects['kind']}): a scale that is {scale} off, one coordinate's "
        f"that is {one} off, {clean} of values sent without noise, a correlation of {correlation} between coordinates."
    )


def _verdict(console: Console, document: Mapping[str, Any]) -> None:
    rejected = [finding for finding in document["findings"] if finding["rejected"]]
    alarm, tests = number(document["alpha"]), len(document["findings"])
    if not rejected:
        _heading(console, "PASSED")
        _line(console, f"None of {tests} tests rejects the claim. That is no proof: smaller faults go unseen.")
        return
    console.print(Text(f"\nFAULT: {len(rejected)} of {tests} tests reject the claim", "bold red"))
    for finding in rejected:
        _line(console, f"- {finding['group']}, {finding['name']}: {finding['meaning']}")
    _line(console, f"The chance of any rejection of a client that keeps the claim is at most {alarm}.")


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{printable(text)}", "bold"))


def _line(console: Console, text: str, style: str = "", indent: int = 2) -> None:
    console.print(Padding(Text(printable(text), style), (0, 0, 0, indent)))
