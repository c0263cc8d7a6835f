"""Clients that are servers: answers, refusals, failures, and that nothing goes to another host than the named one."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

RNG = np.random.default_rng()


def _counts(values):
    return RNG.binomial(15, 0.5 + np.clip(values, -0.05, 0.05) / 0.2)


def _right(values):
    if not np.isfinite(values).all():
        return 422, {"detail": "not finite"}
    return 200, {"counts": _counts(values).tolist()}


def _messages(values):
    status, answer = _right(values)
    if status == 200:
        message = pack(np.array(answer["counts"]), QuantizerSpec(4, 6, 0.05, 0.1))
        answer = {"message": base64.b64encode(message).decode()}
    return status, answer


@contextmanager
def _serving(answer, cut=False):
    """Yields a server's address, and the paths and values of its requests. cut: it sends half of each body."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            values = np.array([[float(value) for value in row] for row in data["values"]])
            asked.append((self.path, values))
            status, content = answer(values)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", content["to"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def _midway(failure, after=9):
    """Returns a server's answers: right ones, and from some call on a failure."""
    number = iter(range(10**9))
    return lambda values: _right(values) if next(number) < after else failure(values)


def test_a_right_server_passes(verify):
    with _serving(_right) as (url, asked):
        ran = verify("--http", f"{url}/v1/release?key=a")
    assert ran.code == 0
    assert {path for path, _ in asked} == {"/v1/release?key=a"}
    assert len(asked) == ran.document["calls"] + 1
    assert ran.document["client"]["name"] == f"{url}/v1/release"  # a query may hold a key
    assert ran.not_tested["processes"] == "over HTTP the server's processes cannot be chosen"
    assert ran.not_tested["message"] == "the server answers with counts, no messages"


def test_values_arrive_as_doubles_and_what_is_none_as_such(verify):
    with _serving(_right) as (url, asked):
        verify("--http", url)
    values = np.concatenate([rows.ravel() for _, rows in asked])
    assert {0.05, -0.05, 0.05 * 1e300} <= set(values[np.isfinite(values)])
    assert np.isnan(values).sum() == 2
    assert np.isposinf(values).sum() == np.isneginf(values).sum() == 2


def test_a_right_server_that_sends_messages_passes(verify):
    with _serving(_messages) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 0
    assert ran.finding("message", "length")["evidence"].startswith("as it must be")


@pytest.mark.parametrize(
    ("answer", "rejected"),
    [
        (lambda values: (200, {"counts": _counts(np.nan_to_num(values)).tolist()}), "clipping: refused"),
        (lambda values: _right(values * 0.8), "law: scale"),
        (lambda values: _right(values) if len(values) != 8 else (400, {"error": "no eights"}), "contract: answers"),
        (lambda values: (200, {"counts": [[3] * 7] * len(values)}), "contract: answers"),
    ],
    ids=["NaN", "scale", "refuses good ones", "shape"],
)
def test_a_broken_server_is_a_fault(verify, answer, rejected):
    with _serving(answer) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 1
    assert rejected in ran.rejected


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (lambda values: (500, {"counts": _counts(values).tolist()}), "status 500 'Internal Server Error'"),
        (lambda values: (204, b""), "status 204"),
        (lambda values: (200, b"<html>Welcome</html>"), "no JSON came back but '<html>Welcome</html>'"),
        (lambda values: (200, b" " * 3_000_000), "bytes came back"),
    ],
    ids=["500", "204", "a page", "huge"],
)
def test_a_server_that_does_not_answer(verify, failure, says):
    with _serving(failure) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 2
    assert says in ran.error
    with _serving(_midway(failure)) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 1
    assert "contract: connection" in ran.rejected
    assert says in ran.finding("contract", "connection")["evidence"]


def test_an_answer_that_is_cut_off_is_none(verify):
    with _serving(_right, cut=True) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 2
    assert "the answer was cut off" in ran.error


def test_a_redirect_is_not_followed(verify):
    with _serving(_right) as (other, asked):
        for status in (301, 302, 307, 308):
            with _serving(lambda values, status=status: (status, {"to": other})) as (url, _):
                ran = verify("--http", url)
            assert ran.code == 2
            assert f"status {status}" in ran.error
            assert "redirects are not followed" in ran.error
    assert asked == []


def test_a_proxy_of_the_environment_is_not_used(verify, monkeypatch):
    with _serving(_right) as (proxy, asked), _serving(_right) as (url, _):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        assert verify("--http", url).code == 0
    assert asked == []


def test_a_server_that_hangs_is_left_when_time_is_up(verify):
    leave = threading.Event()
    with _serving(lambda values: (leave.wait(20), (200, {}))[1]) as (url, _):
        ran = verify("--http", url, "--time-out", "0.3")
        leave.set()
    assert ran.code == 2
    assert "none came within 0.3 seconds" in ran.error


def test_a_server_that_refuses_zeros_is_a_user_error(verify):
    with _serving(lambda values: (404, {"detail": "Not Found"})) as (url, _):
        ran = verify("--http", url)
    assert ran.code == 2
    assert 'release one row of 6 zeros at first, got: status 404: \'{"detail": "Not Found"}\'' in ran.error


def test_nobody_there_is_a_user_error(verify):
    with _serving(_right) as (url, _):
        pass
    ran = verify("--http", url)
    assert ran.code == 2
    assert "the connection failed: ConnectionRefusedError" in ran.error


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@host/",
        "http://host:99999/",
        "http://[::1/",
        "http://host/a b\n",
        "http://höst/",
    ],
)
def test_what_is_no_address_is_a_user_error(verify, url):
    ran = verify("--http", url)
    assert ran.code == 2
    assert "Expected --http" in ran.error
