"""A certificate as a section of a model card: Markdown, every text of the certificate escaped."""

import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING

from del_audit.certificate.model import Allowed, Body, Inversion, Knowing, UnitGuarantee
from del_audit.certificate.rows import MEANS, knowing_rows, states_meaning, terms
from del_audit.show.console import printable
from del_audit.show.mechanism_line import mechanism_line
from del_audit.show.numbers import at_most, interval, number, percent, upper_end

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@:-]|(?<=\d)\.(?=\s|$)|(?<=www)\.)")
"""What Markdown may obey: its marks, the point of a numbered list, and that of an address that some make a link."""


def model_card(body: Body, fingerprint: str) -> str:
    """Returns the section, its headings of the second level and below.

    body: of a certificate that verifies. fingerprint: of the key that signed it.
    """
    lines = [
        f"## Privacy of prompts: {escaped(body.verdict)}",
        "",
        f"What a client of `{body.name}` sends of a prompt was attacked and held against a policy by del-audit. "
        f"Mechanism: {escaped(mechanism_line(body.spec))}. Made {escaped(body.made)}, expires {escaped(body.expires)}, "
        f"signed by {escaped(fingerprint)}.",
        "",
        *([escaped(body.claim.says), ""] if body.claim else []),
        *_guarantees(body.guarantees),
        *_attacks(body.inversion),
        *(_knowing(body.knowing) if body.knowing else []),
        "### Policy",
        "",
        *_table(
            ("limit", "asked", "found", "status"),
            [(check.limit, check.asked, check.found, check.status) for check in body.checks],
        ),
        *(f"- {escaped(reason)}" for reason in body.reasons),
        *([""] if body.reasons else []),
        *(f"- {escaped(line)}" for line in terms(body)),
        *([""] if terms(body) else []),
        "### Not protected",
        "",
        *(f"- {escaped(line)}" for line in body.not_protected),
        "",
        "### How to check this",
        "",
        "- `del-audit verify certificate.json`, with the public key whose fingerprint stands above",
        f"- Made by {escaped(body.reproduce.command)} at commit {escaped(body.commit)}, seed {body.seed}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: object) -> str:
    r"""Returns text as Markdown that shows it: one line, no markup, no control characters.

    >>> escaped("a|b <script> *x*")
    'a\\|b \\<script\\> \\*x\\*'
    """
    return _SPECIAL.sub(r"\\\1", printable(" ".join(str(text).split())))


def _guarantees(guarantees: Sequence[UnitGuarantee]) -> list[str]:
    rows = [(g.unit_name, at_most(g.epsilon), number(g.delta), at_most(g.advantage), g.kind) for g in guarantees]
    heads = ("unit", "epsilon at most, nats", "at delta", "best test's advantage at most", "kind")
    return ["### Guarantee", "", *_table(heads, rows)]


def _attacks(inversion: Inversion) -> list[str]:
    meant = states_meaning(inversion)
    rows = [
        (
            attack.name,
            interval(attack.success),
            *([interval(attack.meaning) if attack.meaning else "none"] if meant else []),
            f"{attack.success.sample:,}",
        )
        for attack in inversion.attacks
    ]
    confidence = f"{inversion.attacks[0].success.confidence:.0%}"
    return [
        f"### Attacks: share of tokens recovered, {confidence} intervals",
        "",
        *_table(("attack", "recovered", *(["up to meaning"] if meant else []), "tokens"), rows),
        *([f"Up to meaning: {escaped(MEANS)}.", ""] if meant else []),
        *_allowed(inversion.allowed),
    ]


def _allowed(allowed: Allowed | None) -> list[str]:
    if allowed is None:
        return ["No proved guarantee bounds what an attack recovers.", ""]
    most = escaped(percent(upper_end(allowed), ROUND_CEILING))
    return [f"Allowed by the guarantee, where the attacker knows only how common words are: at most {most}.", ""]


def _knowing(knowing: Knowing) -> list[str]:
    rows = knowing_rows(knowing)
    heads = ("an attacker who", "recovers", "without the release", "note")
    return ["### Attackers who know more", "", *_table(heads, rows)] if rows else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
        *("| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows),
        "",
    ]
