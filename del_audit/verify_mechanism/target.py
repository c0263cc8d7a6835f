"""What the battery is given to drive: a client behind one connection or another."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.driving import Release
from del_audit.evidence.verification.known_answers import Replay

Floats = NDArray[np.float64]


class Refused(Exception):
    """The client refused the values: nothing was released."""


class NoAnswer(Exception):
    """Neither counts nor a refusal came back over the connection."""


@dataclass(frozen=True, slots=True)
class Target:
    """A client that can be driven. kind, name: what reports call it.

    release, message, charged, replay, processes: as del_audit.evidence.verification.verify_mechanism takes them, or
    verify_words.
    untested: what this connection leaves untested, by the words with which the battery's own reason starts, and why.
    answered: how many calls were answered or refused. faults: what else came back, in words; None where a connection
    cannot fail. notes: what else the reader should see. broken: an error of the connection's own code, after which
    nothing can be said of the client. All four are asked after the battery.
    """

    kind: str
    name: str
    release: Release
    message: Release | None = None
    charged: Callable[[], int] | None = None
    replay: Replay | None = None
    processes: bool = True
    untested: dict[str, str] = field(default_factory=dict)
    answered: Callable[[], int] = lambda: 1
    faults: Callable[[], list[str]] | None = None
    notes: Callable[[], list[str]] = list
    broken: Callable[[], Exception | None] = lambda: None
