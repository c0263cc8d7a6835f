"""What `del-audit verify-mechanism` prints: every test with its evidence, what was not tested, and the verdict."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from del_audit.evidence.verification import Finding, Verification
from del_audit.evidence.verification.guarantee import EpsilonEvidence
from del_audit.evidence.verification.power import Detects
from del_audit.evidence.verification.words import WordDetects
from del_audit.show.console import printable, table_width
from del_audit.show.numbers import at_most, number, percent
from del_audit.verify_mechanism.target import Target
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.coarse_words import CoarseWordsSpec
from mechanisms.spec import QuantizerSpec


def print_report(
    found: Verification, target: Target, seed: int, untested: Sequence[Mapping[str, str]], notes: Iterable[str]
) -> None:
    """Prints a report: as wide as the terminal, or 160 columns in a file. seed: of the inputs."""
    width = table_width()
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    _line(console, f"{target.kind}: {target.name}", "bold", indent=0)
    words = isinstance(found.spec, SupportSpec)
    _line(console, f"Held to: {_claim(found.spec)}")
    _line(console, f"{found.rows:,} rows in {found.calls:,} calls, inputs of seed {seed}")
    console.print(_findings(found.findings))
    _heading(console, "Epsilon of a token")
    for line in _epsilon(found.epsilon, words):
        _line(console, line)
    _heading(console, "What so many rows catch")
    _line(console, _detects(found.detects, words))
    if untested:
        _heading(console, "Not tested")
        for part in untested:
            _line(console, f"- {part['what']}: {part['why']}")
    for note in notes:
        _line(console, note)
    _verdict(console, found)


def _findings(findings: Iterable[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim")
    for head in ("group", "test", "p", "evidence", ""):
        table.add_column(head, justify="right" if head == "p" else "left", overflow="fold")
    last = ""
    for finding in findings:
        group = finding.group if finding.group != last else ""
        last = finding.group
        verdict = Text("REJECTED", "bold red") if finding.rejected else Text("passed")
        cells = (group, finding.name, number(finding.p_value, 2), finding.evidence)
        table.add_row(*(Text(printable(cell)) for cell in cells), verdict)
    return table


def _claim(spec: QuantizerSpec | SupportSpec) -> str:
    if isinstance(spec, QuantizerSpec):
        return (
            f"{spec.bits} bits for each of {spec.dim} numbers a token, clip {spec.clip:g}, scale {number(spec.scale)}"
        )
    inner = f" by {spec.inner.kind} of {spec.inner.words:,} symbols" if isinstance(spec, CoarseWordsSpec) else ""
    chance, epsilon = percent(float(spec.chance)), number(spec.log_odds)
    return f"{spec.kind} of {spec.words:,} words{inner}, {chance} in the word's support, epsilon {epsilon} nats a token"


def _epsilon(evidence: EpsilonEvidence | None, words: bool) -> list[str]:
    if evidence is None:
        return ["Nothing was released."]
    pair = "two words" if words else "opposite corners"
    two, one, claimed = evidence.two_samples, evidence.one_run, evidence.claimed.upper
    least = [number(limit.value, rounding=ROUND_FLOOR) for limit in (two, one)]
    confidence, delta = percent(two.confidence), number(two.delta)
    return [
        f"at least {least[0]} nats, by errors of tests between {pair}, {two.sample:,} rows each",
        f"at least {least[1]} nats, by guesses of the side of {one.sample:,} tokens in one run",
        f"at most {at_most(claimed)} nats, exact, by the claim; all at delta {delta}, the lower limits at {confidence}",
    ]


def _detects(detects: Detects | WordDetects | None, words: bool) -> str:
    if detects is None:
        return f"Nothing: no {'output' if words else 'row at a corner'} was released."
    if isinstance(detects, WordDetects):
        epsilon, bucket = (number(e, 2, ROUND_CEILING) for e in (detects.epsilon_error, 100 * detects.bucket_error))
        return (
            f"With probability {detects.power:g} ({detects.kind}): an epsilon that is {epsilon} nats off, a bucket of "
            f"outputs that is {bucket}% off. {detects.swept:,} words were tried one by one."
        )
    scale, one, clean = (
        percent(error, ROUND_CEILING)
        for error in (detects.scale_error, detects.coordinate_scale_error, detects.clean_share)
    )
    correlation = number(detects.correlation, 2, ROUND_CEILING)
    return (
        f"With probability {detects.power:g} ({detects.kind}): a scale that is {scale} off, one coordinate's "
        f"that is {one} off, {clean} of values sent without noise, a correlation of {correlation} between coordinates."
    )


def _verdict(console: Console, found: Verification) -> None:
    rejected, alarm, tests = found.rejected, number(found.alpha), len(found.findings)
    if not rejected:
        _heading(console, "PASSED")
        _line(console, f"None of {tests} tests rejects the claim. That is no proof: smaller faults go unseen.")
        return
    console.print(Text(f"\nFAULT: {len(rejected)} of {tests} tests reject the claim", "bold red"))
    for finding in rejected:
        _line(console, f"- {finding.group}, {finding.name}: {finding.meaning}")
    _line(console, f"The chance of any rejection of a client that keeps the claim is at most {alarm}.")


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{printable(text)}", "bold"))


def _line(console: Console, text: str, style: str = "", indent: int = 2) -> None:
    console.print(Padding(Text(printable(text), style), (0, 0, 0, indent)))
