"""The search itself: proofs first, then the scale by a cheap attack, then halving by the gain, then dear attacks.

Whatever it measures, it measures on the part to choose on; the part to report on is not within its reach.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from attacks.registry import AttackName, always_run
from del_audit.evidence.candidate_list import ListFigure
from del_audit.statistics.figure import Figure
from del_audit.tune.judge import TASK, Informed, Judge, Over, Reading, Tuned
from del_audit.tune.proof import Least
from del_audit.tune.space import Candidate
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

QUIETEST = 16.0
"""The scale is sought down to the least noise's mu over so much."""
SCALE_STEPS = 4
QUIETER = 0.8
QUIETER_STEPS = 3
"""A finalist that a dear attack reads too well is tried at so much of its mu, so often."""
STAGES = ("proof", "attack", "gain", "finalist", "chosen")


class Bench(Protocol):
    """What can be measured of a candidate, on the part to choose on; raises UserError for one that cannot be built."""

    def read(self, candidate: Candidate, attacks: Sequence[AttackName], documents: int) -> list[Reading]:
        """Returns what the attacks read of so many documents, or as many as there are."""
        ...

    def lists(self, candidate: Candidate) -> tuple[ListFigure, ...] | None:
        """Returns how often a text is picked out of lists; None where the policy does not limit it."""
        ...

    def contexts(self, candidate: Candidate) -> dict[str, Figure]:
        """Returns what who knows the context recovers, by the sides known; nothing where the policy limits none."""
        ...

    def gain(self, candidate: Candidate, prompts: int) -> Figure:
        """Returns the paired gain over so many prompts, or as many as there are."""
        ...

    def others(self, candidate: Candidate) -> dict[str, Figure]:
        """Returns task accuracy and attribute advantage where the policy limits them, by their names in it."""
        ...


@dataclass(frozen=True, slots=True)
class Effort:
    """What is spent: prompts of each rung, growing, the last for finalists; documents of the cheap attack.

    attacks, attacked: the dear ones, and their documents. finalists: candidates held against them, at least.
    """

    prompts: tuple[int, ...]
    documents: int
    attacks: tuple[AttackName, ...]
    attacked: int
    finalists: int = 2


@dataclass(slots=True)
class Row:
    """A candidate and all that was seen of it. stage: where it left the search; excess: measured over allowed there."""

    candidate: Candidate
    stage: str = "proof"
    status: str = "waiting"
    why: str = ""
    excess: float = math.inf
    informed: Informed = field(default_factory=Informed)
    readings: list[Reading] = field(default_factory=list)
    gain: Figure | None = None
    others: dict[str, Figure] = field(default_factory=dict)
    tried: list[dict[str, Json]] = field(default_factory=list)

    def drop(self, stage: str, why: str, excess: float = math.inf) -> None:
        """Marks the candidate as dropped."""
        self.stage, self.status, self.why, self.excess = stage, "dropped", why, excess


@dataclass(frozen=True, slots=True)
class Heard:
    """What the cheap attacks recover at a scale. over: a limit that they break."""

    scale: float
    readings: list[Reading]
    informed: Informed
    over: Over | None


@dataclass(frozen=True, slots=True)
class Search:
    """One search. least: of (bits, dim). out_of_time: asked before every measurement that can be left out."""

    judge: Judge
    clip: float
    bench: Bench
    effort: Effort
    least: Mapping[tuple[int, int], Least]
    out_of_time: Callable[[], bool] = lambda: False

    def run(self, candidates: Sequence[Candidate]) -> list[Row]:
        """Returns every candidate's row; one has status `chosen` unless none was seen to meet the policy."""
        rows = [Row(candidate) for candidate in candidates]
        for row in rows:
            self._prove(row)
        self._set_scales([row for row in rows if row.status != "dropped"])
        self._halve([row for row in rows if row.status != "dropped"])
        self._finish(rows)
        return rows

    def _prove(self, row: Row) -> None:
        found = self.least[row.candidate.bits, row.candidate.dim]
        if found.scale is None:
            row.drop("proof", f"refused by proof: {found.reason}")
        else:
            row.candidate = row.candidate.at(found.scale)

    def _set_scales(self, rows: Sequence[Row]) -> None:
        """Sets each channel's scale, the smallest that was seen to hold the cheap attack within its limit."""
        channels: dict[Candidate, list[Row]] = {}
        for row in rows:
            channels.setdefault(row.candidate.channel, []).append(row)
        for channel, members in channels.items():
            least = members[0].candidate.scale
            assert least is not None
            if self.out_of_time():
                for row in members:
                    row.drop("attack", "out of time before it was attacked")
                continue
            tried: list[dict[str, Json]] = []
            try:
                found = self._scale_of(channel, least, tried)
            except UserError as error:
                for row in members:
                    row.drop("proof", f"cannot be built: {error}")
                continue
            for row in members:
                row.tried = list(tried)
                row.readings, row.informed = found.readings, found.informed
                row.candidate, row.stage = row.candidate.at(found.scale), "attack"
                if found.over:
                    row.drop("attack", f"at every scale tried, {found.over.why}", found.over.excess)

    def _scale_of(self, channel: Candidate, least: float, tried: list[dict[str, Json]]) -> Heard:
        """Returns the smallest scale seen to pass, or the largest tried, with what was read there; bisects mu."""

        def read(scale: float) -> Heard:
            candidate, informed = channel.at(scale), Informed()
            readings = self.bench.read(candidate, always_run(), self.effort.documents)
            if (over := self.judge.attacks(readings)) is None:
                informed, over = self._lists(candidate)
            tried.append(_tried(candidate, readings, over))
            return Heard(scale, readings, informed, over)

        found = read(least)
        if not found.over:
            return found
        loud = channel.at(least).spec(self.clip).mu
        quiet = loud / QUIETEST
        found = read(self._scale(channel, quiet))
        if found.over:
            return found
        for _ in range(SCALE_STEPS):
            middle = math.sqrt(loud * quiet)
            louder = read(self._scale(channel, middle))
            if louder.over:
                loud = middle
            else:
                quiet, found = middle, louder
        return found

    def _lists(self, candidate: Candidate) -> tuple[Informed, Over | None]:
        """Returns how often a text is picked out of lists, and whether that is too often."""
        informed = Informed(self.bench.lists(candidate))
        return informed, self.judge.rest(Tuned(candidate.spec(self.clip), informed=informed), "lists")

    def _scale(self, candidate: Candidate, mu: float) -> float:
        return QuantizerSpec.from_mu(candidate.bits, candidate.dim, self.clip, mu).scale

    def _halve(self, rows: Sequence[Row]) -> None:
        """Measures the gain on more and more prompts, and drops the lower half each time."""
        alive = list(rows)
        for rung, prompts in enumerate(self.effort.prompts[:-1] or self.effort.prompts):
            if rung and (len(alive) <= self.effort.finalists or self.out_of_time()):
                break
            alive = [row for row in alive if self._measured(row, prompts)]
            keep = max(self.effort.finalists, math.ceil(len(alive) / 2))
            ranked = _ranked(alive)
            for row in ranked[keep:]:
                row.status = "outpaced"
                row.why = f"{keep} of {len(alive)} gained more over {prompts} prompts"
            alive = ranked[:keep]

    def _measured(self, row: Row, prompts: int) -> bool:
        try:
            row.gain, row.stage = self.bench.gain(row.candidate, prompts), "gain"
        except UserError as error:
            row.drop("proof", f"cannot be built: {error}")
        return row.status != "dropped"

    def _finish(self, rows: Sequence[Row]) -> None:
        """Holds the best against every limit, as many as asked for and on until one meets all, and chooses."""
        met: list[Row] = []
        waiting = _ranked([row for row in rows if row.status in ("waiting", "outpaced") and row.gain is not None])
        for place, row in enumerate(waiting):
            if place >= self.effort.finalists and met:
                break
            if place and self.out_of_time():
                row.why, row.status = f"out of time; {row.why}".rstrip("; "), "dropped"
                continue
            if self._meets(row):
                met.append(row)
                row.stage, row.status, row.why = "finalist", "met", "meets the policy on the part to choose on"
        if met:
            best = max(met, key=lambda row: self._objective(row).lower)
            best.stage = best.status = "chosen"
            best.why = f"of {len(met)} that meet the policy the one of largest lower end, {self._objective(best).unit}"

    def _objective(self, row: Row) -> Figure:
        """Returns what the best is best at: task accuracy where the policy asks for it, else the paired gain."""
        if self.judge.policy.task_accuracy_at_least is not None:
            return row.others[TASK]
        assert row.gain is not None
        return row.gain

    def _meets(self, row: Row) -> bool:
        """Returns whether a finalist is within every limit, at a scale that the dear attacks allow; drops it if not."""
        candidate = row.candidate
        for step in range(QUIETER_STEPS + 1):
            over = self._attacked(row, candidate)
            if over is None or step == QUIETER_STEPS:
                break
            candidate = candidate.at(self._scale(candidate, candidate.spec(self.clip).mu * QUIETER))
        row.candidate, row.gain = candidate, self.bench.gain(candidate, self.effort.prompts[-1])
        if over is None:
            row.others = self.bench.others(candidate)
            spec = candidate.spec(self.clip)
            over = self.judge.rest(Tuned(spec, row.readings, row.gain, row.others, row.informed))
        if over is not None:
            row.drop("finalist", over.why, over.excess)
        return over is None

    def _attacked(self, row: Row, candidate: Candidate) -> Over | None:
        """Returns the limit that a dear attack breaks; the cheapest come first, and those behind it are left out."""
        row.readings = []
        row.informed, over = self._lists(candidate)
        if over is None:
            row.informed = replace(row.informed, contexts=self.bench.contexts(candidate))
            over = self.judge.rest(Tuned(candidate.spec(self.clip), informed=row.informed), "context")
        if over is None:
            row.readings = self.bench.read(candidate, self.effort.attacks, self.effort.attacked)
            over = self.judge.attacks(row.readings)
        row.tried.append(_tried(candidate, row.readings, over))
        return over


def nearest(rows: Sequence[Row]) -> Row:
    """Returns the row that came furthest, and among those the one of least excess: what to say where none is chosen."""
    return min(rows, key=lambda row: (-STAGES.index(row.stage), row.excess))


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows by falling gain, those measured on more prompts first.

    By the interval's lower end, which is what a certificate is held against: a candidate whose gain scatters widely is
    the likeliest to look best by luck.
    """
    return sorted(rows, key=lambda row: (-row.gain.sample, -row.gain.lower) if row.gain else (0.0, 0.0))


def _tried(candidate: Candidate, readings: Sequence[Reading], over: Over | None) -> dict[str, Json]:
    """Returns a scale with the strongest attack, where one was made there, and the limit that is broken."""
    strongest = max(readings, key=lambda each: each.success.value, default=None)
    return {
        "scale": candidate.scale,
        "attack": strongest.name if strongest else None,
        "success": strongest.success.value if strongest else None,
        "over": over.why if over else None,
    }
