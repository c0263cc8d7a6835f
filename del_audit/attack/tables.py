"""What `del-audit attack` prints: the same figures as in the result, rounded outwards, each with its kind."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attacks.self_test import SelfTest
from del_audit.evidence.inferences import rows_used
from del_audit.show.console import table_width
from del_audit.show.numbers import at_most, interval, number, percent, printable, upper_end

NOTHING = "-"
SLICES = ("names", "numbers")
PLANTED = {
    "planted: identifiers": "identifiers, whole",
    "planted: identifiers, within one edit": "within one edit",
    "planted: documents": "documents, one whole",
    "planted: documents, within one edit": "one within one edit",
}
"""Figures of planted identifiers that are printed, and the heads of their columns."""
Figure = Mapping[str, Any]


def print_inversion(document: Mapping[str, Any], tests: Collection[SelfTest]) -> None:
    """Prints an inversion's result."""
    show, attacks = _Page(document), document["attacks"]
    size = f"{document['prompts']} prompts of {document['documents']} documents, {document['tokens']:,} tokens"
    show.heading(f"Share of tokens read: {size}; 95% intervals over documents", "estimate")
    rows = [
        (
            row["name"],
            interval(row["success"]),
            _figure(row["meaning"]),
            _figure(row["metrics"].get("hit@10", {}).get("attack")),
            interval(row["metrics"]["top-1"]["difference"]) if row["key"] != "baseline" else NOTHING,
            interval(row["worst_prompt"]),
        )
        for row in attacks
    ]
    show.table(("attack", "first guess", "up to meaning", "hit@10", "above the baseline", "worst prompt"), rows)
    show.heading("Share of tokens read, of words that matter", "estimate")
    rows = [(row["name"], _figure(row["rare"]), *(_slice(row["slices"], name) for name in SLICES)) for row in attacks]
    show.table(("attack", "rarer words", *SLICES), rows)
    if any(row["identifiers"] for row in attacks):
        show.heading("Share of planted identifiers read, and of documents with one that is read", "estimate")
        rows = [(row["name"], *(_slice(row["identifiers"], name) for name in PLANTED)) for row in attacks]
        show.table(("attack", *PLANTED.values()), rows)
    _strongest(show, document["strongest"])
    allowed = document["allowed"]
    if allowed is None:
        show.note("No proved guarantee bounds what an attack recovers.")
    else:
        most, kappa = (percent(share, ROUND_CEILING) for share in (upper_end(allowed), allowed["kappa"]))
        theorem = allowed["source"].split(",")[0]
        show.note(
            f"Allowed by the guarantee ({allowed['kind']}): at most {most} for attacks that take tokens one by one "
            f"({theorem}, commonest word at most {kappa})."
        )
    _broken(show, document["broken"])
    for row in attacks:
        if row["note"]:
            show.note(f"{row['name']}: {row['note']}")
    _tested(show, tests)


def print_attribute(document: Mapping[str, Any]) -> None:
    """Prints an attribute inference's result."""
    show, found = _Page(document), document["inference"]
    classes = found["classes"]
    show.heading(
        f"Attribute {document['column']}, {len(classes)} classes ({', '.join(classes)}): "
        f"{document['private_rows']} private prompts, probes chosen on {document['public_rows']} public releases",
        "estimate",
    )
    rows = [
        (name, *(_figure(part[figure]) if part else NOTHING for figure in ("balanced_accuracy", "accuracy", "auc")))
        for name, part in (
            ("lengths alone (floor)", found["lengths"]),
            ("the release", found["released"]),
            ("clean text (ceiling)", found["clean"]),
        )
    ]
    show.table(("a probe that sees", "balanced accuracy", "accuracy", "AUC"), rows)
    chance, over = percent(found["chance"]), interval(found["released"]["over_majority"])
    show.note(f"Chance: {chance} balanced. Another user's release: {interval(found['other_users_release'])}.")
    show.note(f"Share right above always naming the commonest class: {over}.")
    show.note(f"Advantage: {interval(found['released']['advantage'])} of the way from chance to certainty.")
    show.note(f"Chosen: {found['released']['features']}; {found['released']['classifier']}.")
    sizes = document["sizes"]
    if sizes["figures"]:
        show.heading("What the size of a message tells", "estimate")
        rows = [
            (name, interval(size["bits"]), number(size["entropy"]), number(size["p_value"], 2))
            for name, size in sizes["figures"].items()
        ]
        show.table(("size", "bits about the attribute", "of", "p"), rows)
    for name, why in {**sizes["left_out"], **document["views_left_out"]}.items():
        show.note(f"Left out: {name}. {why[:1].upper()}{why[1:].rstrip('.')}.")
    used, there = document["settings"]["public_documents"], document["labelled_public_documents"]
    if used < there:
        show.note(rows_used(document["column"], used, there))
    if document["left_out_rows"]:
        show.note(f"Left out of training: {document['left_out_rows']} public rows of private authors or documents.")


def print_repeated(document: Mapping[str, Any], tests: Collection[SelfTest]) -> None:
    """Prints what is read of repeated releases and of chats."""
    show = _Page(document)
    size = f"{document['prompts']} prompts of {document['documents']} documents, {document['tokens']:,} tokens"
    show.heading(f"Share of tokens read when a prompt is sent several times: {size}", "estimate")
    _by_times(show, document["rows"])
    if document["chats"]:
        chats = document["chats"]
        show.heading(f"The same in chats of {chats['turns']} turns that send earlier turns again", "estimate")
        _by_times(show, chats["rows"])
        counted = f"Session of {chats['session_tokens']:,} tokens, each counted as often as it is sent"
        if chats["session"] is None:
            show.note(f"{counted}: no epsilon is proved of it.")
        else:
            show.note(
                f"{counted}: epsilon <= {at_most(chats['session'])} nats at delta {number(document['delta'])} "
                f"({chats['session']['kind']})."
            )
    show.note("allowed: theorem 6 at so many trials, for attacks that take tokens one by one.")
    show.heading("Words that occur so often in one prompt, rarer than the 100 commonest; each is sent once", "estimate")
    rows = [
        (str(row["times"]), f"{row['words']:,}", _figure(row["pooled"]), _figure(row["once"]))
        for row in document["own_repeats"]
    ]
    show.table(("occurs, at least", "words", "all together", "the first alone"), rows, left=())
    _broken(show, document["broken"])
    _tested(show, tests)


def print_context(document: Mapping[str, Any]) -> None:
    """Prints what is recovered by who knows other words of the prompts."""
    show, template = _Page(document), document["template"]
    size = f"{document['prompts']} prompts of {document['documents']} documents"
    where = "" if template is None else f", in the template {template!r}, whose words are known"
    show.heading(f"Share of tokens recovered by who knows other words: {size}{where}; 95% intervals", "estimate")
    rows = [
        (
            f"knows the words {'to the left' if row['context'] == 'left' else 'on both sides'}",
            f"{row['success']['sample']:,}",
            interval(row["success"]),
            interval(row["without"]),
            interval(row["lift"]),
            NOTHING if row["allowed"] is None else percent(row["allowed"], ROUND_CEILING),
        )
        for row in document["rows"]
    ]
    show.table(("an attacker who", "tokens", "recovers", "without the release", "lift", "allowed <="), rows)
    show.note("lift: what the release adds. allowed: theorem 23, at the upper end of the same attacker without text.")
    trained = sorted({row["trained_sha256"][:16] for row in document["rows"] if row["trained_sha256"]})
    show.note(f"Language model: {f'adapted to public text ({trained[0]})' if trained else 'as it comes'}.")
    show.note(f"Seed {document['seed']}.")
    _broken(show, document["broken"])


def print_lists(document: Mapping[str, Any]) -> None:
    """Prints how often a text is picked out of a list."""
    show = _Page(document)
    show.heading("Share of texts picked out of a list by exact likelihood; 95% intervals over the noise", "estimate")
    rows = [
        (
            f"{row['decoys']}, {row['lengths']} lengths",
            f"{row['candidates']:,}",
            str(row["tokens"]),
            f"{row['success']['sample']:,}",
            interval(row["success"]),
            percent(row["chance"], ROUND_CEILING),
        )
        for row in document["rows"]
    ]
    show.table(("hidden among", "texts in the list", "tokens read", "texts sent", "picked out", "chance <="), rows)
    show.note("tokens read: from the start of each text. The intervals say nothing of other texts or lists.")
    test = document["self_test"]
    show.note(f"Self-test: {test['loud']} of {test['tokens']} public texts picked out without noise.")
    show.note(f"Seed {document['seed']}.")


def print_distinguish(document: Mapping[str, Any]) -> None:
    """Prints distinguishing games."""
    show = _Page(document)
    show.heading(f"Telling two prompts apart: {document['trials']:,} messages a side", "estimate")
    rows = [
        (
            game["name"],
            str(game["tokens"]),
            interval(game["advantage"]),
            at_most(game["total_variation"]),
            _figure(game["auc"]),
            number(game["epsilon"]["value"]),
            at_most(game["own_epsilon"]) if game["own_epsilon"] else NOTHING,
            at_most(game["exact_epsilon"]),
        )
        for game in document["games"]
    ]
    heads = ("game", "tokens", "advantage", "at most", "AUC", "epsilon, at least", "this pair, at most", "at most")
    show.table(heads, rows)
    show.note(
        "tokens: that differ. at most: by the guarantee. epsilon, at least: what the game proves at 95% confidence, "
        f"nats at delta {number(document['delta'])}."
    )
    _broken(show, document["broken"])


def print_self_tests(tests: Mapping[str, SelfTest]) -> None:
    """Prints what each attack read at the two references."""
    show = _Page(None)
    show.heading("Self-tests: tokens read of public text")
    rows = [
        (
            key,
            test.attack,
            f"{test.loud} of {test.tokens}",
            str(test.required),
            str(test.silent),
            str(test.allowed),
            "passed" if test.passed else "UNUSABLE",
        )
        for key, test in tests.items()
    ]
    heads = ("", "attack", "without noise", "at least", "noise alone", "at most", "")
    show.table(heads, rows, left=(0, 1, 6))
    _unusable(show, tests.values())


class _Page:
    """Where parts are printed: as wide as the terminal, or 160 columns in a file."""

    def __init__(self, document: Mapping[str, Any] | None) -> None:
        width = table_width()
        self._console = Console(width=width, highlight=False, markup=False, emoji=False)
        if document is not None:
            title = f"{document['name']}: {document['mechanism']}"
            self._console.print(Text(printable(title), style="bold"))

    def heading(self, text: str, kind: str = "") -> None:
        """Prints a heading, with the kind of the figures below it."""
        kind = f"  ({kind})" if kind else ""
        self._console.print(Text.assemble("\n", (printable(text), "bold"), (kind, "dim")))

    def note(self, text: str, style: str = "") -> None:
        """Prints a line of text."""
        self.show(Padding(Text(printable(text), style=style), (0, 0, 0, 2)))

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> None:
        """Prints a table; cells are text, never markup."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True, header_style="dim")
        for index, head in enumerate(heads):
            table.add_column(head, justify="left" if index in left else "right", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.show(table)

    def show(self, part: RenderableType) -> None:
        """Prints a part."""
        self._console.print(part)


def _figure(figure: Figure | None) -> str:
    return NOTHING if figure is None else interval(figure)


def _slice(slices: Mapping[str, Any], name: str) -> str:
    return _figure(slices[name]["success"]) if name in slices else NOTHING


def _strongest(show: _Page, found: Mapping[str, Any]) -> None:
    if found["figure"] is None:
        show.note(f"Strongest: not named, {found['why']}.")
        return
    show.note(f"Strongest (estimate): {found['attack']}, {interval(found['figure'])}; {found['how']}.")


def _by_times(show: _Page, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        (
            row["attack"],
            str(row["times"]),
            interval(row["success"]),
            percent(upper_end(row["allowed"]), ROUND_CEILING) if row["context_free"] and row["allowed"] else NOTHING,
            at_most(row["epsilon"]) if row["epsilon"] else NOTHING,
        )
        for row in rows
    ]
    show.table(("attack", "times sent", "first guess", "allowed <=", "token epsilon <="), cells)


def _broken(show: _Page, names: Sequence[str]) -> None:
    if names:
        line = f"BROKEN: {', '.join(names)} beats the guarantee, so the implementation does not give it."
        show.note(line, "bold red")
    else:
        show.note("No attack beats the guarantee: the implementation is not contradicted.")


def _tested(show: _Page, tests: Collection[SelfTest]) -> None:
    if not tests:
        show.note("Self-tests were not run: an attack that reads little may be a broken attack.")
        return
    show.note(f"Self-tests: {sum(test.passed for test in tests)} of {len(tests)} attacks passed.")
    _unusable(show, tests)


def _unusable(show: _Page, tests: Iterable[SelfTest]) -> None:
    for test in tests:
        if not test.passed:
            show.note(f"Unusable: {test.attack}. {test.reason}")
