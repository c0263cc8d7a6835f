"""What workers are given and give back: one kind of work, its parts, and the files that a part makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from del_audit.runs import Parts

Files: TypeAlias = Mapping[str, bytes]
"""The files that a part made, by their paths inside the run's folder."""


class Bench(Protocol):
    """What makes parts: it keeps each in its run's folder, as the command does that asked for them."""

    @property
    def run(self) -> Parts:
        """The run whose folder holds what is made."""
        ...

    def make(self, asked: object) -> None:
        """Makes a part and keeps it; asked: of the Part. Raises UserError for what a user can mend."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """All that parts share. made_by: "module:function", called with a folder of the worker's own and about.

    It returns the Bench, whose run is in that folder. about: whatever can be pickled.
    """

    made_by: str
    about: object


@dataclass(frozen=True, slots=True)
class Part:
    """One part. name: for people. asked: what the bench makes, whatever can be pickled."""

    name: str
    asked: object
