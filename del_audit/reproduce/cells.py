"""The cells of a table: match a mechanism to the target, attack it, and measure what is left of the text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attacks.base import InversionAttack
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from del_audit.accounting import Bound
from del_audit.reproduce.bench import Bench
from del_audit.reproduce.contenders import Contender, contender_kind, hits
from del_audit.reproduce.generation import measure_generation
from del_audit.reproduce.matching import bisect_rate
from del_audit.reproduce.pairs import measure_pairs
from del_audit.reproduce.protocol import CLEAN, DELTA, MatchKind, Row
from del_audit.statistics.intervals import rate
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel

UNIT, SAMPLE = "share of tokens", "tokens"
SEARCH, REPORT = "attack in the search", "attack"
"""The reported attack is on a release of its own: that of the search was chosen to be near the target."""
NEAREST, POSTERIOR = CosineNeighbour(depth=1), MaximumAPosteriori(depth=1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of one target. bits, dim: None where the row's mechanism has none. target: None for the ceiling."""

    row: Row
    bits: int | None
    dim: int | None
    match: MatchKind
    target: float | None

    @property
    def label(self) -> str:
        """What a progress bar calls it."""
        size = f", {self.bits} bits, dim {self.dim}" if self.bits else ""
        return f"{self.row.name}{size}" + ("" if self.target is None else f", {self.match} {self.target:g}")

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


def grid(
    bench: Bench, match: MatchKind, targets: tuple[float, ...], bits: Sequence[int], dims: Sequence[int]
) -> Iterator[Cell]:
    """Yields the cells of a table, target by target; the ceiling, which has none, comes last."""
    rows = bench.protocol.rows_for(match)
    for target in targets:
        for row in rows:
            if row.kind == CLEAN:
                continue
            quantized = contender_kind(row.kind).quantized
            for dim in dims if quantized else (None,):
                for count in bits if quantized else (None,):
                    yield Cell(row, count, dim, match, target)
    for row in rows:
        if row.kind == CLEAN:
            yield Cell(row, None, None, match, None)


def run_cell(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Returns the finished cell: how it was matched, its privacy, its utility; from its file where it is there."""
    return bench.run.cell({"cell": cell.to_dict(), **bench.identity}, lambda: _computed(bench, cell))


def is_kept(bench: Bench, cell: Cell) -> bool:
    """Returns whether the cell is finished."""
    return bench.run.has_cell({"cell": cell.to_dict(), **bench.identity})


def _computed(bench: Bench, cell: Cell) -> dict[str, Json]:
    if cell.row.kind == CLEAN:
        return {"reached": True, "utility": measure_pairs(bench, None, cell.to_dict())}
    try:
        matched = _matched(bench, cell)
    except UserError as error:
        if cell.match != "epsilon":
            raise
        return {"reached": False, "reason": str(error)}
    if not matched["reached"]:
        return matched
    contender = _at(bench, cell, matched)
    if bench.protocol.task == "pairs":
        return {**matched, "utility": measure_pairs(bench, contender.mechanism, cell.to_dict())}
    return {**matched, "utility": measure_generation(bench, cell.row, contender)}


def _matched(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Returns the knob that meets the target, with the attacks and the exact epsilon there.

    Rows with the same mechanism share it. Raises UserError for an epsilon that the mechanism does not reach.
    """
    settings = {
        "match": cell.match,
        "target": cell.target,
        "kind": cell.row.kind,
        "bits": cell.bits,
        "dim": cell.dim,
        **bench.identity,
    }
    return bench.run.cell(settings, lambda: _match(bench, cell))


def _match(bench: Bench, cell: Cell) -> dict[str, Json]:
    assert cell.target is not None
    knob = contender_kind(cell.row.kind).knob
    tokens = len(bench.attacked)
    found: dict[str, Json] = {"reached": True, "knob_name": knob.name}
    if cell.match == "asr":

        def found_at(knob: float) -> int:
            return _hits(bench, NEAREST, _contender(bench, cell, knob), SEARCH)

        match = bisect_rate(found_at, cell.target, tokens, knob.low, knob.high)
        contender = _contender(bench, cell, match.knob)
        found |= {
            "reached": match.reached,
            "tolerance": match.tolerance,
            "bracket": [match.lower, match.upper],
            "searched": match.rate,
            "evaluations": match.evaluations,
        }
        if not match.reached:
            found["reason"] = (
                f"The attack's success is {match.ends[0]:.4g} at {knob.name} {match.lower:.4g} and {match.ends[1]:.4g} "
                f"at {match.upper:.4g}, with nothing nearer to {cell.target:g} between."
            )
    elif cell.match == "mu":
        contender = _contender(bench, cell, cell.target)
    else:
        contender = bench.contenders.at_epsilon(cell.row.kind, cell.bits or 0, cell.dim or 0, cell.target)
    return {**found, "knob": contender.knob, **_privacy(bench, contender)}


def _privacy(bench: Bench, contender: Contender) -> dict[str, Json]:
    """Returns the paper's attack, the attack by the exact law, and the exact epsilon, each with its kind."""
    tokens = bench.attacked
    nearest = _hits(bench, NEAREST, contender, REPORT)
    known = isinstance(contender.mechanism, KnownChannel)
    posterior = _hits(bench, POSTERIOR, contender, REPORT) if known else None
    commonest = int((tokens == int(bench.contenders.prior.argmax())).sum())
    return {
        "asr": _rate(nearest, len(tokens), bench.seed),
        "asr_map": None if posterior is None else _rate(posterior, len(tokens), bench.seed),
        "asr_commonest_word": _rate(commonest, len(tokens), bench.seed),
        "epsilon": _bound(contender.epsilon),
        "mechanism": contender.mechanism.spec.to_dict(),
    }


def _hits(bench: Bench, attack: InversionAttack, contender: Contender, purpose: str) -> int:
    return hits(bench.contenders, attack, contender, bench.attacked, bench.seed, purpose)


def _bound(epsilon: Bound) -> dict[str, Json]:
    """Returns the bound's fields; None is an end that is infinite."""
    ends = {name: value if math.isfinite(value) else None for name, value in epsilon.to_dict().items()}
    return {**ends, "kind": epsilon.kind, "unit": "nats a token", "delta": DELTA}


def _rate(hits: int, tokens: int, seed: int) -> dict[str, Json]:
    return {**rate(hits, tokens, UNIT, SAMPLE).to_dict(), "seed": seed}


def _contender(bench: Bench, cell: Cell, knob: float) -> Contender:
    return bench.contenders.at(cell.row.kind, cell.bits or 0, cell.dim or 0, knob)


def _at(bench: Bench, cell: Cell, matched: Mapping[str, Any]) -> Contender:
    """Returns the contender that was matched, made again where its match came from a file."""
    if cell.match == "epsilon":
        assert cell.target is not None
        return bench.contenders.at_epsilon(cell.row.kind, cell.bits or 0, cell.dim or 0, cell.target)
    return _contender(bench, cell, float(matched["knob"]))
