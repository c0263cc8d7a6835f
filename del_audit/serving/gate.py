"""Whether the server may serve: its certificate holds, and what is loaded is what the certificate names."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from del_audit.certificate.model import Body
from del_audit.certificate.verify import Verification
from del_audit.certificate.verify_command import passes, verify_file
from del_audit.serving.refusal import RefusalError
from mechanisms.canonical_json import LARGEST
from mechanisms.client_certificate import WHAT, date
from mechanisms.errors import UserError
from mechanisms.small_file import read_small

CLOSED = "certificate_ended"


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that holds. sha256: of its file, 32 bytes. until: when it expires."""

    body: Body
    sha256: bytes
    until: datetime


def certified(path: Path, trust: Sequence[str], accept_quick: bool) -> Certified:
    """Returns the certificate in a file; raises UserError unless it is valid, certified and of enough assurance."""
    data = read_small(path, LARGEST, WHAT)
    found = verify_file(path, trust)
    if found.body is None or not passes(found, accept_quick):
        raise UserError(
            f"Expected a certificate that is valid and certified, got {str(path)!r}: {_why(found)}. "
            f"`del-audit verify {path}` says what holds of it."
        )
    return Certified(found.body, hashlib.sha256(data).digest(), date(found.body.expires, "expires"))


def _why(found: Verification) -> str:
    """Returns why a certificate does not pass."""
    if not found.valid:
        return "; ".join(found.failures) or "it is not valid"
    if found.verdict != "certified":
        return f"its verdict is {found.verdict}"
    return "it is quick, with fewer attacks: give --accept-quick if that is enough"


@dataclass(slots=True)
class Gate:
    """Open while the certificate holds. It fails closed: whatever is wrong when it looks again closes it.

    check: reads the certificate again, and raises UserError where it does not hold.
    """

    check: Callable[[], Certified]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _current: Certified | None = field(default=None, init=False)
    _why: str = field(default="", init=False)
    _latest: datetime | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._current = self.check()

    def look(self) -> None:
        """Reads the certificate again: a new one is served under, and one that does not hold closes the gate."""
        try:
            found, why = self.check(), ""
        except UserError as error:
            found, why = None, str(error)
        with self._lock:
            self._current, self._why = found, why

    @property
    def why(self) -> str:
        """Why it is closed, for the operator's log; empty where it is open."""
        return self._why

    def require(self) -> Certified:
        """Returns the certificate that is served under.

        Raises RefusalError where there is none, it has expired, or the clock was set back.
        """
        now = self.now()
        with self._lock:
            back = self._latest is not None and now < self._latest
            self._latest = now if self._latest is None else max(now, self._latest)
            current = self._current
        if current is None:
            raise RefusalError(
                503, "checks_failed", "A check of the server fails: nothing is served. Its log says which."
            )
        if now >= current.until:
            raise RefusalError(503, CLOSED, "The certificate has ended: nothing is served.")
        if back and (self._latest - now).total_seconds() > 300:
            raise RefusalError(503, "clock_set_back", "The server's clock was set back: nothing is served.")
        return current
