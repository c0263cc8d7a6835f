"""What workers measure for a search: the same bench over the same private text, in a folder of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from del_audit.configuration.configuration import Configuration
from del_audit.runs import Parts
from del_audit.service.assets import load_assets
from del_audit.tune.bench import MeasuringBench, NotMeasuredError
from del_audit.tune.judge import Judge
from del_audit.tune.parts import TUNING, part_of
from del_audit.tune.search import Asked, Effort, Search
from del_audit.workers.work import Part


@dataclass(frozen=True, slots=True)
class TuneWork:
    """What a worker's measurements are made of. tuning: the private documents to choose on; the rest as of Search."""

    base: Configuration
    seed: int
    tuning: tuple[int, ...]
    judge: Judge
    effort: Effort
    epsilons: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TuneBench:
    """A worker's part of a search. run: the worker's own."""

    run: Parts
    search: Search

    def make(self, asked: object) -> None:
        """Measures what a stage asks for."""
        assert isinstance(asked, Asked)
        self.search.make(asked)


def bench_in(folder: Path, about: TuneWork) -> TuneBench:
    """Returns a worker's bench, which keeps what it measures in a folder of its own; loads what the base names."""
    run = Parts(folder / "run", {"command": "tune"})
    tuning = part_of(load_assets(about.base, about.seed), about.tuning)
    bench = MeasuringBench(about.base, tuning, TUNING, run)
    return TuneBench(run, Search(about.judge, bench, about.effort, {}, about.epsilons))


def missing(bench: MeasuringBench, about: TuneWork, asked: Sequence[Asked]) -> list[Part]:
    """Returns what is asked for and not finished, as parts for workers; bench: of the search itself."""
    looking = Search(about.judge, replace(bench, measures=False), about.effort, {}, about.epsilons)

    def finished(one: Asked) -> bool:
        try:
            looking.make(one)
        except NotMeasuredError:
            return False
        return True

    return [Part(f"{one.kind} of {one.candidate.described()}", one) for one in asked if not finished(one)]
