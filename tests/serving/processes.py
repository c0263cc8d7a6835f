"""The service as its users start it: two processes, and a wire between them that is recorded byte by byte."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from del_audit.serving.protocol import Request, read_request

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Relay:
    """A TCP relay in front of the server. sent: all bytes of each connection that went to it."""

    port: int
    target: int
    sent: list[bytearray] = field(default_factory=list)
    _listening: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    @property
    def whole(self) -> bytes:
        return b"".join(map(bytes, self.sent))

    @property
    def requests(self) -> list[Request]:
        """The requests that crossed the wire whole."""
        found = []
        for connection in self.sent:
            data = bytes(connection)
            while data.startswith((b"POST ", b"GET ")):
                head, _, rest = data.partition(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                size = int(lengths[0].split(b":")[1]) if lengths else 0
                if head.startswith(b"POST ") and len(rest) >= size:
                    found.append(read_request(rest[:size]))
                data = rest[size:]
        return found

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            record = bytearray()
            self.sent.append(record)
            threading.Thread(target=_pump, args=(near, far, record), daemon=True).start()
            threading.Thread(target=_pump, args=(far, near, None), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, record: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if record is not None:
                record += data
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def started(arguments: list[str], port: int, state: dict[str, str], plant: str = "") -> Iterator[subprocess.Popen]:
    """Gives a process of del-audit that answers; plant: Python that runs in it first."""
    script = f"import sys\n{plant}\nfrom del_audit.entry import main\nsys.exit(main())"
    command = [sys.executable, "-c", script, *arguments, "--port", str(port), "--accept-quick"]
    environment = {**os.environ, **state, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    said: list[bytes] = []
    reading = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    reading.start()
    process.said = said
    try:
        for _ in range(600):
            assert process.poll() is None, b"".join(said).decode()
            with contextlib.suppress(httpx2.HTTPError):
                httpx2.get(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reading.join(5)
