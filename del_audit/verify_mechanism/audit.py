"""What `del-audit verify-mechanism` does: drives a client, reports what the battery found, exits with the verdict."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from del_audit.evidence.verification import Finding, Verification, verify_mechanism
from del_audit.evidence.verification.verification import TRIALS
from del_audit.evidence.verification.words import WordLaw, verify_words
from del_audit.process.exit_codes import DONE, REFUSED
from del_audit.service.provenance import commit, versions
from del_audit.verify_mechanism.report_text import print_report
from del_audit.verify_mechanism.target import Target
from mechanisms.canonical_json import Json
from mechanisms.files import write_file
from mechanisms.randomness import Generator, SystemRandomness, simulation_generator
from mechanisms.spec import QuantizerSpec

FORMAT = "del-audit verification 1"
PASSED, FAULT = DONE, REFUSED
_CONNECTION = (
    "Calls came back without an answer or a refusal: the program ended, hung, or wrote something else. What a user "
    "sees of such a failure may depend on the text, and rows that were lost were not tested."
)


def run(
    opening: AbstractContextManager[Target],
    claim: QuantizerSpec | WordLaw,
    trials: int | None = None,
    alpha: float = 1e-3,
    seed: int | None = None,
    out: Path | None = None,
    as_json: bool = False,
) -> int:
    """Prints what the battery finds of a client and returns the exit code: 0 nothing against the claim, 1 a fault.

    trials: rows of the main design; None for the battery's own number. seed: of the inputs; None draws one. out: file
    for the report. Raises UserError for values out of range, an out that cannot be written, and as the opening does;
    an error of the connection's own code, and a lack of memory, as they came: they are no finding.
    """
    seed = int(SystemRandomness().words(1)[0]) if seed is None else seed
    trials = TRIALS if trials is None else trials
    rng = simulation_generator(seed, "verify-mechanism")
    with opening as target:
        found = _verified(target, claim, trials, alpha, rng)
        if (broken := target.broken()) is not None:
            raise broken
        if target.faults is not None:
            found = with_connection(found, target.faults(), target.answered())
        document, notes = report(found, target, seed), target.notes()
    if out is not None:
        write_file(out, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode(), new=True)
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print_report(found, target, seed, not_tested(found.skipped, target.untested), notes)
    return PASSED if found.passed else FAULT


def _verified(
    target: Target, claim: QuantizerSpec | WordLaw, trials: int, alpha: float, rng: Generator
) -> Verification:
    """Returns what the battery of the claim finds of a client."""
    release, message, charged, processes = target.release, target.message, target.charged, target.processes
    if isinstance(claim, WordLaw):
        return verify_words(
            release, claim, trials=trials, alpha=alpha, rng=rng, message=message, charged=charged, processes=processes
        )
    return verify_mechanism(
        release,
        claim,
        trials=trials,
        alpha=alpha,
        rng=rng,
        message=message,
        charged=charged,
        replay=target.replay,
        processes=processes,
    )


def with_connection(found: Verification, faults: Sequence[str], answered: int) -> Verification:
    """Returns a verification with the finding that says what else than answers came back."""
    evidence = "; ".join(faults) if faults else f"all of {answered} calls were answered or refused"
    p_value = 0.0 if faults else 1.0
    finding = Finding("connection", "contract", evidence, p_value, bool(faults), _CONNECTION)
    return replace(
        found, findings=(found.findings[0], finding, *found.findings[1:]), p_value=min(found.p_value, p_value)
    )


def report(found: Verification, target: Target, seed: int) -> dict[str, Json]:
    """Returns the report: what was held to which claim, every finding, and what was not tested, as JSON values."""
    whole = found.to_dict()
    del whole["skipped"]
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "client": {"kind": target.kind, "name": target.name},
        "seed": seed,
        **whole,
        "not_tested": not_tested(found.skipped, target.untested),
        "notes": target.notes(),
        "versions": versions(),
        "commit": commit(),
    }


def not_tested(skipped: Sequence[str], untested: dict[str, str]) -> list[dict[str, str]]:
    """Returns what was not tested and why: the battery's reasons, in place of them the connection's, and its others.

    >>> not_tested(["message: nothing was given", "processes: no fork"], {"message": "it sends none"})
    [{'what': 'message', 'why': 'it sends none'}, {'what': 'processes', 'why': 'no fork'}]
    """
    reasons = dict(line.split(": ", 1) for line in skipped)
    return [{"what": what, "why": why} for what, why in {**reasons, **untested}.items()]
