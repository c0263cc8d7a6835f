"""`del-audit plan`: how many documents must be attacked so that a limit on attacks can be certified."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from del_audit.statistics.figure import Figure
from del_audit.statistics.planning import (
    METHODS,
    Asked,
    Assumed,
    IntervalName,
    Plan,
    assumed_from,
    largest_rate,
    plan_documents,
    plan_prompts,
    power_of,
)
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.small_file import read_small

FORMAT = "del-audit plan 1"
LARGEST_CERTIFICATE = 1 << 26
TOKENS, INTRACLUSTER = 40, 0.05
CERTIFIER: IntervalName = "unseen-document"
ABOUT = {
    "unseen-document": "what del-audit certify gives attacks",
    "sequential": "evaluation.stop_early: true",
    "Clopper-Pearson": "independent tokens only",
}


def plan(
    *,
    attack_success: float | None,
    expected: float | None,
    confidence: float = 0.95,
    power: float = 0.9,
    tokens_a_document: int | None = None,
    intracluster: float | None = None,
    source: Path | None = None,
    documents: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> int:
    """Prints how many documents and tokens certify a limit on the share of tokens read, and returns 0.

    The arguments are the command's options; source is --from. Raises UserError for what is missing or out of range.
    """
    body = None if source is None else _certificate(source)
    asked, assumed = _question(body, attack_success, expected, confidence, power, tokens_a_document, intracluster)
    found = _document(asked, assumed, documents, seed)
    if body is not None:
        found["other_limits"] = _other_limits(body, power)
    print(json.dumps(found, indent=2, allow_nan=False) if as_json else _rendered(found))
    return 0


def _question(
    body: Mapping[str, Any] | None,
    limit: float | None,
    expected: float | None,
    confidence: float,
    power: float,
    tokens: int | None,
    intracluster: float | None,
) -> tuple[Asked, Assumed]:
    """Returns claim and assumptions: what was given, else what the certificate shows, else the defaults."""
    if body is not None:
        measured = assumed_from(_strongest(body))
        limit = body["configuration"]["policy"].get("attack_success_at_most") if limit is None else limit
    else:
        measured = Assumed(0.0 if expected is None else expected, TOKENS, INTRACLUSTER)
        if expected is None:
            raise UserError("Expected --expected, the true share of tokens read, in [0, 1), or --from, got neither.")
    if limit is None:
        raise UserError(
            "Expected --attack-success, the limit, in (0, 1), got none, and none in a certificate's policy."
        )
    return Asked(limit, confidence, power), Assumed(
        measured.rate if expected is None else expected,
        measured.tokens if tokens is None else tokens,
        measured.intracluster if intracluster is None else intracluster,
    )


def _document(asked: Asked, assumed: Assumed, documents: int | None, seed: int) -> dict[str, Json]:
    plans = [plan_documents(name, assumed, asked, seed) for name in METHODS]
    chosen = next(each for each in plans if each.interval == CERTIFIER)
    return {
        "format": FORMAT,
        "claim": {
            "attack_success_at_most": asked.limit,
            "confidence": asked.confidence,
            "power": asked.power,
        },
        "assumed": {
            "share_of_tokens_read": assumed.rate,
            "tokens_a_document": assumed.tokens,
            "intracluster": assumed.intracluster,
        },
        "kind": "simulated; of Clopper-Pearson exact",
        "seed": seed,
        "plans": [_row(each) for each in plans],
        "with_documents": None if documents is None else _with(documents, assumed, asked, seed),
        "evaluation": {
            "attacked_tokens": chosen.tokens,
            "context_prompts": chosen.documents,
        },
        "policy": {"prompt_tokens": assumed.tokens},
    }


def _row(found: Plan) -> dict[str, Json]:
    return {
        "interval": found.interval,
        "method": METHODS[found.interval],
        "documents": found.documents,
        "tokens": found.tokens,
        "power": found.power,
        "documents_attacked_on_average": found.stops_after,
    }


def _with(documents: int, assumed: Assumed, asked: Asked, seed: int) -> list[dict[str, Json]]:
    """Returns what so many documents can certify: the power they have, and the largest true rate."""
    return [
        {
            "interval": name,
            "documents": documents,
            "power": power_of(name, assumed, asked, documents, seed),
            "largest_share_certified": largest_rate(name, assumed, asked, documents, seed),
        }
        for name in METHODS
    ]


def _certificate(path: Path) -> Mapping[str, Any]:
    """Returns the body of a certificate; what it says is taken as an assumption, so nobody's signature is asked for."""
    data = read_small(path, LARGEST_CERTIFICATE, "certificate")
    try:
        body: Mapping[str, Any] = json.loads(data)
        _strongest(body)
        dict(body["configuration"]["policy"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"Expected {str(path)!r} to be a certificate of del-audit certify: {error!r}.") from None
    return body


def _strongest(body: Mapping[str, Any]) -> Figure:
    figures = [Figure(**attack["success"]) for attack in body["inversion"]["attacks"]]
    return max(figures, key=lambda figure: figure.upper)


def _other_limits(body: Mapping[str, Any], power: float) -> dict[str, Json]:
    """Returns about how many prompts show the gain that the policy asks for; None where it asks for none."""
    limit = body["configuration"]["policy"].get("paired_gain_at_least")
    if limit is None:
        return {}
    figure = Figure(**body["utility"]["paired_gain"])
    prompts = plan_prompts(figure, limit, power) if figure.value > limit else None
    return {"paired_gain_at_least": limit, "prompts": prompts, "kind": "approximate: a normal mean", "power": power}


def _rendered(found: Mapping[str, Any]) -> str:
    claim, assumed = found["claim"], found["assumed"]
    lines = [
        f"Claim     at most {claim['attack_success_at_most']:g} of tokens read, at confidence {claim['confidence']:g}, "
        f"shown with probability {claim['power']:g}",
        f"Assumed   {assumed['share_of_tokens_read']:.4g} of tokens read, {assumed['tokens_a_document']} tokens a "
        f"document, intracluster correlation {assumed['intracluster']:.3g}",
        "",
        f"{'interval':<18}{'documents':>10}{'tokens':>10}{'power':>8}",
    ]
    for row in found["plans"]:
        early, attacked = "", row["documents_attacked_on_average"]
        if attacked is not None:
            early = f"; stops after {attacked:.0f} on average"
        lines.append(
            f"{row['interval']:<18}{row['documents']:>10,}{row['tokens']:>10,}{row['power']:>8.3f}"
            f"  {ABOUT[row['interval']]}{early}"
        )
    for row in found["with_documents"] or []:
        most = row["largest_share_certified"]
        said = "nothing" if most is None else f"a true share of {most:.4f} at most"
        lines.append(
            f"{row['documents']:,} documents, {row['interval']}: power {row['power']:.3f}; they certify {said}"
        )
    if other := found.get("other_limits"):
        prompts = "no number of" if other["prompts"] is None else f"about {other['prompts']:,}"
        lines.append(f"Paired gain at least {other['paired_gain_at_least']:g}: {prompts} prompts would show it")
    parts = [
        f"{part}: {{{', '.join(f'{name}: {value}' for name, value in found[part].items())}}}"
        for part in ("evaluation", "policy")
    ]
    return "\n".join([*lines, "", "For the configuration:", *parts])
