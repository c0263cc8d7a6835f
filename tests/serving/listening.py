"""An application behind a real socket, in a thread of this process."""

import contextlib
import socket
import threading
import time

import uvicorn

from del_audit.serving.listening import Listening


@contextlib.contextmanager
def listening(app):
    """Gives the port at which an application answers."""
    bound = Listening("127.0.0.1", 0).bound()
    configured = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(configured)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def until(holds, seconds=30.0):
    """Waits until something holds; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.01)


@contextlib.contextmanager
def connected(port, receives=None):
    """Gives a socket to a port; receives: bytes that it takes at most while nobody reads."""
    with socket.socket() as made:
        if receives is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        made.settimeout(30)
        made.connect(("127.0.0.1", port))
        yield made


def post(path, body, content_type, **headers):
    """Returns a request as bytes."""
    given = {"host": "localhost", "content-type": content_type, "content-length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
