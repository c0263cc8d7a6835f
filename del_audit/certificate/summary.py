"""The certificate as the table that `certify` prints."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from del_audit.certificate.model import Body, Bytes, GaussianFigures, Inversion, Knowing, Probe, UnitGuarantee, Utility
from del_audit.certificate.rows import (
    MEANS,
    by_bits,
    by_condition,
    is_baseline,
    knowing_rows,
    probe_rows,
    slice_rows,
    states_meaning,
    terms,
)
from del_audit.configuration.policy import WrittenPolicy
from del_audit.configuration.verdict import Check
from del_audit.show.mechanism_line import mechanism_line
from del_audit.show.numbers import at_most, interval, number, percent, printable, upper_end

VERDICT_STYLES = {"certified": "bold green", "refused": "bold red", "inconclusive": "bold yellow"}
STATUS_STYLES = {"passed": "green", "failed": "bold red", "inconclusive": "yellow"}

Row = Sequence[str | Text]


LIMIT_HEADS = ("Theorem 4.2", "gamma", "mu alone")
LIMIT_NOTE = (
    " Theorem 4.2: the epsilon that the paper's theorem certifies with its error term gamma. mu alone: the same "
    "without gamma, asymptotic, no bound at any finite size."
)


def print_summary(certificate: Body, console: Console) -> None:
    """Prints the certificate's table."""
    console.print(summary(certificate))


def summary(certificate: Body) -> Group:
    """Returns the certificate's table: what is guaranteed, what was read, what is left to use, and the verdict."""
    c, policy = certificate, certificate.configuration.policy
    title = f"{c.name}: {mechanism_line(c.spec)}"
    parts: list[RenderableType] = [Text(printable(title), style="bold")]
    parts += [Text(printable(c.claim.says))] if c.claim else []
    parts += _guarantees(c.guarantees)
    parts += _attacks(c.inversion, policy.attack_success_at_most)
    parts += _slices(c.inversion, policy)
    parts += _knowing(c.knowing) if c.knowing else []
    if c.attribute is not None:
        parts += _probe("Attribute that must not leak", c.attribute)
        parts.append(_note(f"Advantage: {interval(c.attribute.advantage)} of the way from chance to certainty."))
    parts += _utility(c.utility)
    if c.utility.task is not None:
        parts += _probe("Task of the server", c.utility.task)
    parts += _bits(c)
    parts += _bytes(c.bytes)
    parts += _checks(c.checks)
    parts += _verdict(c.verdict, c.reasons, terms(c))
    parts += [_heading("Not protected"), _list(c.not_protected)]
    return Group(*parts)


def _guarantees(guarantees: Sequence[UnitGuarantee]) -> list[RenderableType]:
    if not guarantees:
        return [_heading("Exact guarantee: none is proved of this mechanism")]
    several = len({g.delta for g in guarantees}) > 1
    limited = guarantees[0].gaussian_limit is not None
    rows = [
        (
            f"{g.unit_name}, delta {number(g.delta)}" if several else g.unit_name,
            at_most(g.epsilon),
            at_most(g.pure_epsilon),
            at_most(g.advantage),
            *_of_the_limit(g.gaussian_limit),
        )
        for g in guarantees
    ]
    heads = ("unit", "epsilon <=", "pure epsilon <=", "advantage <=", *(LIMIT_HEADS if limited else ()))
    at = "the delta named" if several else f"delta {number(guarantees[0].delta)}"
    return [
        _heading(f"Exact guarantee: epsilon in nats at {at}", "proved"),
        _table(heads, rows, right=range(1, len(heads))),
        _note(
            "advantage: of the best test that tells the two worst inputs apart; 0 is a blind guess, 1 is certainty."
            + (LIMIT_NOTE if limited else "")
        ),
    ]


def _of_the_limit(limit: GaussianFigures | None) -> tuple[str, ...]:
    """Returns the cells of the paper's theorem; none for a mechanism that it is not about."""
    if limit is None:
        return ()
    certified = "none" if limit.epsilon_certified is None else at_most(limit.epsilon_certified)
    return certified, number(limit.gamma, 2), number(limit.epsilon_ignoring_gamma)


def _attacks(inversion: Inversion, limit: float | None) -> list[RenderableType]:
    rows: list[Row] = []
    meant = states_meaning(inversion)
    for attack in inversion.attacks:
        strongest = attack.name == inversion.strongest
        shares = [attack.success, *([attack.meaning] if meant else []), attack.rare]
        cells = [attack.name, *(interval(each) if each else "-" for each in shares), f"{attack.success.sample:,}"]
        note = "strongest" if strongest else "baseline" if is_baseline(attack) else ""
        rows.append([Text(printable(cell), style="bold" if strongest else "") for cell in (*cells, note)])
    confidence = f"{inversion.attacks[0].success.confidence:.0%} intervals over documents"
    lines = "No proved guarantee bounds what an attack recovers."
    if inversion.allowed is not None:
        allowed, theorem = percent(upper_end(inversion.allowed), ROUND_CEILING), inversion.allowed.theorem
        lines = f"Allowed by the guarantee: at most {allowed} ({theorem}, commonest word {percent(inversion.kappa)})."
    if limit is not None:
        lines += f" Limit of the policy: {percent(limit)}."
    heads = ["attack", "all words", *(["up to meaning"] if meant else []), "rarer words", "tokens", ""]
    return [
        _heading(f"Attacks: share of tokens recovered, {confidence}", "estimate"),
        _table(heads, rows, right=range(1, len(heads) - 1)),
        _note(lines),
        *([_note(f"Up to meaning: {MEANS}.")] if meant else []),
        *([_note(f"Not run: {', '.join(inversion.not_run)}.")] if inversion.not_run else []),
        *(_note(f"Unusable: {test.attack}. {test.reason}") for test in inversion.unusable),
    ]


def _slices(inversion: Inversion, policy: WrittenPolicy) -> list[RenderableType]:
    """Returns of each slice the attack whose upper end is largest; the page and the JSON have all of them."""
    found = slice_rows(inversion, policy)
    rows = []
    for row in found:
        strongest, part = row.strongest or (None, None)
        words = (
            row.name,
            interval(part.success) if part and part.success else "no figure",
            interval(row.guess) if row.guess else "-",
            f"{part.tokens:,}" if part else "-",
            percent(row.limit) if row.limit is not None else "-",
            strongest.name if strongest else next((part.why for _, part in row.cells if part), ""),
        )
        rows.append([printable(word) for word in words])
    heads = ("slice", "recovered", "by the baseline", "tokens", "limit", "strongest there")
    heading = _heading("Slices of the text: share of their tokens recovered", "estimate")
    return [heading, _table(heads, rows, right=(1, 2, 3, 4))] if rows else []


def _knowing(knowing: Knowing) -> list[RenderableType]:
    rows = [[printable(cell) for cell in row] for row in knowing_rows(knowing)]
    heads = ("an attacker who", "recovers", "without the release", "")
    heading = _heading("Attackers who know more", "estimate")
    return [heading, _table(heads, rows, right=(1, 2))] if rows else []


def _probe(title: str, probe: Probe) -> list[RenderableType]:
    rows = []
    for name, balanced, accuracy in probe_rows(probe):
        chance = f"{percent(probe.chance)} (chance)" if accuracy is not None else "-"
        cells = (name, interval(balanced) if balanced else chance, interval(accuracy) if accuracy else "-")
        rows.append([printable(cell) for cell in cells])
    documents = f"{probe.accuracy.sample:,} {probe.accuracy.sample_unit}"
    return [
        _heading(f"{title}: {probe.column}, {len(probe.recalls)} classes, {documents}", "estimate"),
        _table(("a probe that sees", "balanced accuracy", "accuracy"), rows, right=(1, 2)),
    ]


def _utility(utility: Utility) -> list[RenderableType]:
    perplexity, coherence = utility.perplexity, utility.coherence
    names = by_condition(perplexity, coherence)
    rows = [
        (printable(name), *(interval(figures[name]) if name in figures else "-" for figures in (perplexity, coherence)))
        for name in names
    ]
    gain, clean = interval(utility.paired_gain), interval(utility.clean_paired_gain)
    share = utility.share_of_clean_gain
    of_clean = f"That is {interval(share)} of what" if share else "Not above zero is what"
    others = ", ".join(f"{interval(figure)} over {name}" for name, figure in sorted(utility.gains_over.items()))
    return [
        _heading(f"Utility: {gain} nats per token over another user's prompt", "estimate"),
        _note(f"{of_clean} the clean prompt gives, {clean} nats per token."),
        *([_note(f"Nats per token saved over other controls: {printable(others)}.")] if others else []),
        _table(("the server sees", "perplexity", "coherence (cosine)"), rows, right=(1, 2)),
    ]


def _bits(certificate: Body) -> list[RenderableType]:
    points = by_bits(certificate)
    if len(points) == 1:
        return []
    rows = [
        (
            str(point.bits),
            at_most(point.epsilon) if point.epsilon else "-",
            interval(point.gain),
            interval(point.success),
            f"{point.bytes:g}",
            "this one" if point.own else "",
        )
        for point in points
    ]
    heads = ("bits", "token epsilon <=", "gain, nats per token", "strongest on single tokens", "bytes", "")
    return [_heading("Other numbers of bits, at the same mu"), _table(heads, rows, right=range(5))]


def _bytes(sent: Bytes) -> list[RenderableType]:
    clean, prompt = sent.a_prompt_of_clean_float32, sent.a_prompt
    line = (
        f"{sent.a_token:g} per token and {sent.header} per message: {prompt:,} per prompt, "
        f"where clean float32 embeddings take {clean:,} ({clean / prompt:.0f} times as many)."
    )
    return [_heading("Bytes on the wire", "counted"), _note(line)]


def _checks(checks: Sequence[Check]) -> list[RenderableType]:
    rows = [
        [Text(check.status, style=STATUS_STYLES[check.status])]
        + [Text(printable(words)) for words in (check.limit, check.asked, check.found)]
        for check in checks
    ]
    return [_heading("Checks of the policy"), _table(("", "limit", "asked", "found"), rows)]


def _verdict(verdict: str, why: Sequence[str], rests: Sequence[str]) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), Text(f"Verdict: {verdict.upper()}", style=VERDICT_STYLES[verdict])]
    parts.append(_list(why) if why else _note("Every limit of the policy holds."))
    return [*parts, *([_heading("What the verdict rests on"), _list(rests)] if rests else [])]


def _heading(text: str, kind: str = "") -> RenderableType:
    return Text.assemble("\n", (printable(text), "bold"), (f"  ({kind})" if kind else "", "dim"))


def _note(text: str) -> RenderableType:
    return Padding(Text(printable(text)), (0, 0, 0, 2))


def _list(lines: Iterable[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row("  -", Text(printable(line)))
    return grid


def _table(heads: Sequence[str], rows: Iterable[Row], right: Iterable[int] = ()) -> Table:
    """Returns a table without colour of its own; cells are text, never markup."""
    aligned = set(right)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True, header_style="dim")
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index in aligned else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table
