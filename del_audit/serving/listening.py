"""Where a service listens, and how it ends: requests that are open are finished first."""

import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from mechanisms.errors import UserError

GRACE = 30
"""Seconds that open requests have once it is to stop."""
GONE = 60
"""Seconds after which a peer that takes no byte, or is not there any more, is given up."""


@dataclass(frozen=True, slots=True)
class Listening:
    """host, port: where. certificate, key: files of TLS, both or neither. Raises UserError for what cannot be."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"Expected --port in 0..65535, got --port {self.port}.")
        if (self.certificate is None) != (self.key is None):
            raise UserError("Expected --tls-certificate and --tls-key together, got one of them.")
        for name, path in (("--tls-certificate", self.certificate), ("--tls-key", self.key)):
            if path is not None and not path.is_file():
                raise UserError(f"Expected {name} to be a file, got {str(path)!r}.")

    @property
    def address(self) -> str:
        """The address as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{self.port}"

    def bound(self) -> socket.socket:
        """Returns a socket that is bound; raises UserError where the port is taken or the host is not here."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        give_up_the_gone(made)
        try:
            made.bind((self.host, self.port))
        except OSError as error:
            made.close()
            raise UserError(
                f"Expected a free port of this machine, got {self.address}: {error.strerror}. Give another --port."
            ) from None
        return made


def give_up_the_gone(listening: socket.socket) -> None:
    """Makes the system close connections to peers that are gone without a word: they inherit it of their listener."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": GONE, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": GONE * 1_000}
    for name, value in options.items():
        if hasattr(socket, name):  # as the system has them
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def run(app: Starlette, listening: Listening) -> None:
    """Serves an application until the process is told to stop; raises UserError as `bound` does."""
    made = listening.bound()
    configured = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=1 << 16,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )
    _Stoppable(configured).run(sockets=[made])


class _Stoppable(uvicorn.Server):
    """A server that SIGTERM stops as it is meant to be stopped: what was open is finished, and the exit code is 0."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the loop; uvicorn raises the signals that it keeps again afterwards, which SIGTERM is not one of."""
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)
