"""The search itself: proofs first, then the noise by a cheap attack, then halving by the gain, then dear attacks.

Whatever it measures, it measures on the part to choose on; the part to report on is not within its reach.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from attacks.registry import AttackName, always_run
from del_audit.evidence.candidate_list import ListFigure
from del_audit.statistics.figure import Figure
from del_audit.tune.channels import Channel, Shape, WordChannel
from del_audit.tune.judge import TASK, Informed, Judge, Over, Reading, Tuned
from del_audit.tune.proof import Edge, refused
from del_audit.tune.space import Candidate
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError

QUIETEST = 16.0
"""The noise is sought down to the loudest channel's mu, or epsilon, over so much."""
STEPS = 4
QUIETER = 0.8
QUIETER_STEPS = 3
"""A finalist that a dear attack reads too well is tried at so much of its mu, or epsilon, so often."""
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a stage asks for, and what waits for nothing else of that stage: workers can make it.

    kind: a channel's noise, a gain over so many prompts, or all that a finalist is held against. prompts: of a gain.
    """

    kind: Literal["noise", "gain", "finalist"]
    candidate: Candidate
    prompts: int = 0


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
    """What the cheap attacks recover of a channel. over: a limit that they break."""

    channel: Channel
    readings: list[Reading]
    informed: Informed
    over: Over | None


@dataclass(frozen=True, slots=True)
class Search:
    """One search. edges: the least noise of each shape. epsilons: of mechanisms over words, where some are asked for.

    out_of_time: asked before every measurement that can be left out. share: told before each stage what it asks for.
    """

    judge: Judge
    bench: Bench
    effort: Effort
    edges: Mapping[Shape, Edge]
    epsilons: tuple[float, ...] = ()
    out_of_time: Callable[[], bool] = lambda: False
    share: Callable[[Sequence[Asked]], None] = lambda asked: None

    def make(self, asked: Asked) -> None:
        """Measures what is asked for, so that the bench keeps it; the search itself says what cannot be built."""
        with suppress(UserError):
            if asked.kind == "noise":
                self._loudest(asked.candidate, [])
            elif asked.kind == "gain":
                self.bench.gain(asked.candidate, asked.prompts)
            else:
                self._meets(Row(asked.candidate))

    def run(self, candidates: Sequence[Candidate]) -> list[Row]:
        """Returns every candidate's row; one has status `chosen` unless none was seen to meet the policy."""
        rows = [Row(candidate) for candidate in candidates]
        for row in rows:
            self._prove(row)
        self._set_levels([row for row in rows if row.status != "dropped"])
        self._halve([row for row in rows if row.status != "dropped"])
        self._finish(rows)
        return rows

    def _prove(self, row: Row) -> None:
        if why := row.candidate.unreadable:
            row.drop("proof", why)
        elif (found := self.edges[row.candidate.channel.shape]).level is None:
            row.drop("proof", f"refused by proof: {found.reason}")
        else:
            row.candidate = row.candidate.at(found.level)

    def _set_levels(self, rows: Sequence[Row]) -> None:
        """Sets each channel's noise, the least that was seen to hold the cheap attack within its limit."""
        channels: dict[Channel, list[Row]] = {}
        for row in rows:
            channels.setdefault(row.candidate.channel, []).append(row)
        self.share([Asked("noise", members[0].candidate.undecoded) for members in channels.values()])
        for channel, members in channels.items():
            if self.out_of_time():
                for row in members:
                    row.drop("attack", "out of time before it was attacked")
                continue
            tried: list[dict[str, Json]] = []
            try:
                found = self._loudest(members[0].candidate.undecoded, tried)
            except UserError as error:
                for row in members:
                    row.drop("proof", f"cannot be built: {error}")
                continue
            for row in members:
                row.tried = list(tried)
                row.readings, row.informed = found.readings, found.informed
                row.candidate, row.stage = row.candidate.through(found.channel), "attack"
                if found.over:
                    row.drop("attack", f"at every {channel.level_name} tried, {found.over.why}", found.over.excess)

    def _loudest(self, undecoded: Candidate, tried: list[dict[str, Json]]) -> Heard:
        """Returns the loudest channel seen to pass, or the quietest, with what was read there; bisects the levels."""

        def read(channel: Channel) -> Heard:
            candidate, informed = undecoded.through(channel), Informed()
            readings = self.bench.read(candidate, always_run(), self.effort.documents)
            if (over := self.judge.attacks(readings)) is None:
                informed, over = self._lists(candidate)
            tried.append(_tried(candidate, readings, over))
            return Heard(channel, readings, informed, over)

        levels = self._levels(undecoded.channel)
        found = read(levels[0])
        if not found.over or len(levels) == 1:
            return found
        found = read(levels[-1])
        if found.over:
            return found
        loud, quiet = 0, len(levels) - 1
        while quiet - loud > 1:
            middle = (loud + quiet) // 2
            heard = read(levels[middle])
            if heard.over:
                loud = middle
            else:
                quiet, found = middle, heard
        return found

    def _levels(self, loudest: Channel) -> list[Channel]:
        """Returns what is tried, the loudest first: the epsilons asked for, else all steps down to QUIETEST."""
        levels: list[Channel] = [loudest]
        if isinstance(loudest, WordChannel) and self.epsilons:
            levels += [loudest.at(each) for each in sorted(self.epsilons, reverse=True) if each < loudest.loudness]
        else:
            loud = loudest.loudness
            levels += [loudest.at_loudness(each) for each in _steps(loud, loud / QUIETEST, STEPS)]
        return [each for each in levels if each is loudest or not refused(each, self.judge.policy)]

    def _quieter(self, channel: Channel) -> Channel | None:
        """Returns the channel with a step more noise; None where there is none."""
        if isinstance(channel, WordChannel) and self.epsilons:
            return next(iter(self._levels(channel)[1:]), None)
        found = channel.at_loudness(channel.loudness * QUIETER)
        return None if refused(found, self.judge.policy) else found

    def _lists(self, candidate: Candidate) -> tuple[Informed, Over | None]:
        """Returns how often a text is picked out of lists, and whether that is too often."""
        informed = Informed(self.bench.lists(candidate))
        return informed, self.judge.rest(Tuned(candidate.channel.spec(), informed=informed), "lists")

    def _halve(self, rows: Sequence[Row]) -> None:
        """Measures the gain on more and more prompts, and drops the lower half each time."""
        alive = list(rows)
        for rung, prompts in enumerate(self.effort.prompts[:-1] or self.effort.prompts):
            if rung and (len(alive) <= self.effort.finalists or self.out_of_time()):
                break
            self.share([Asked("gain", row.candidate, prompts) for row in alive])
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
        self.share([Asked("finalist", row.candidate) for row in waiting[: self.effort.finalists]])
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
        """Returns whether a finalist is within every limit, at a noise that dear attacks allow; drops it if not."""
        candidate = row.candidate
        for step in range(QUIETER_STEPS + 1):
            over = self._attacked(row, candidate)
            quieter = None if over is None or step == QUIETER_STEPS else self._quieter(candidate.channel)
            if quieter is None:
                break
            candidate = candidate.through(quieter)
        row.candidate, row.gain = candidate, self.bench.gain(candidate, self.effort.prompts[-1])
        if over is None:
            row.others = self.bench.others(candidate)
            spec = candidate.channel.spec()
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
            over = self.judge.rest(Tuned(candidate.channel.spec(), informed=row.informed), "context")
        if over is None:
            row.readings = self.bench.read(candidate, self.effort.attacks, self.effort.attacked)
            over = self.judge.attacks(row.readings)
        row.tried.append(_tried(candidate, row.readings, over))
        return over


def nearest(rows: Sequence[Row]) -> Row:
    """Returns the row that came furthest, and among those the one of least excess: what to say where none is chosen."""
    return min(rows, key=lambda row: (-STAGES.index(row.stage), row.excess))


def _steps(loud: float, quiet: float, halvings: int) -> list[float]:
    """Returns 2^halvings levels at equal ratios from below loud down to quiet.

    >>> _steps(16.0, 1.0, 2)
    [8.0, 4.0, 2.0, 1.0]
    """
    if halvings == 0:
        return [quiet]
    middle = math.sqrt(loud * quiet)
    return [*_steps(loud, middle, halvings - 1), *_steps(middle, quiet, halvings - 1)]


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows by falling gain, those measured on more prompts first.

    By the interval's lower end, which is what a certificate is held against: a candidate whose gain scatters widely is
    the likeliest to look best by luck.
    """
    return sorted(rows, key=lambda row: (-row.gain.sample, -row.gain.lower) if row.gain else (0.0, 0.0))


def _tried(candidate: Candidate, readings: Sequence[Reading], over: Over | None) -> dict[str, Json]:
    """Returns a scale or an epsilon with the strongest attack that was made there, and the limit that is broken."""
    strongest = max(readings, key=lambda each: each.success.value, default=None)
    return {
        candidate.channel.level_name: candidate.channel.level,
        "attack": strongest.name if strongest else None,
        "success": strongest.success.value if strongest else None,
        "over": over.why if over else None,
    }
