"""Shows a private chat on one machine: server, proxy, a question from OpenAI's own client, and what crossed the wire.

It runs under the example's certificate where `make certify` has made it, and otherwise under a quick one that it makes
of public reviews. All that it starts it also stops, on Ctrl-C too, and the folder that it works in is removed.

    python examples/serve_demo.py
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import public_halves
import yaml

from del_audit.serving.protocol import Request, read_request

EXAMPLE = Path("examples/smollm2-reviews.yaml")
CERTIFICATE = Path("out/smollm2-reviews/certificate.json")
QUESTION = "My knee hurts at night since the operation. Would ibuprofen help?"
QUICK = {
    "name": "serve-demo",
    "dtype": "float32",
    "evaluation": {
        "attacks": ["baseline", "map"],
        "attacked_tokens": 128,
        "context_prompts": 2,
        "prompts": 2,
        "response_tokens": 2,
        "generations": 2,
        "generated_tokens": 2,
    },
    "policy": {"assurance": "quick", "sends": 1, "prompt_tokens": 16, "attack_success_at_most": 0.99},
}
"""What stands in place of the example's own keys where a quick certificate is made."""
STARTS_WITHIN, STOPS_WITHIN = 300, 40
"""Seconds."""


class DemoError(Exception):
    """What a program said that failed."""


@dataclass(slots=True)
class Wire:
    """A cable between proxy and server with a tap on it. sent: the bytes of each connection to the server."""

    server: int
    port: int = field(init=False)
    sent: list[bytearray] = field(default_factory=list)

    def __post_init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        threading.Thread(target=self._connect, args=(listening,), daemon=True).start()

    def _connect(self, listening: socket.socket) -> None:
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", self.server))
            self.sent.append(bytearray())
            for one, other, heard in ((near, far, self.sent[-1]), (far, near, None)):
                threading.Thread(target=self._carry, args=(one, other, heard), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, heard: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if heard is not None:
                    heard += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def question(self) -> tuple[bytes, Request]:
        """Returns all that was sent to ask the question, HTTP's headers included, and the request in it."""
        (whole,) = [bytes(data) for data in self.sent if data.startswith(b"POST /v1/generate ")]
        return whole, read_request(whole.partition(b"\r\n\r\n")[2])


def main() -> int:
    """Returns 0 once the answer was heard and no word of the question was on the wire, 1 otherwise."""
    os.environ["NO_PROXY"] = "127.0.0.1"  # whatever stands between this machine and others
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        with tempfile.TemporaryDirectory(prefix="del-audit-demo-") as folder:
            return shown(Path(folder))
    except DemoError as error:
        print(f"\nserve-demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nserve-demo: interrupted; server and proxy are stopped.", file=sys.stderr)
        return 130


def shown(folder: Path) -> int:
    """Shows it, step by step; what is made on the way lies in the folder."""
    begun = time.monotonic()
    environment = {**os.environ, "DEL_AUDIT_STATE": str(folder / "state")}
    step(1, "A certificate, without which nothing runs")
    if CERTIFICATE.exists():
        config, certificate = EXAMPLE, CERTIFICATE
        say(f"{CERTIFICATE}, which `make certify` made.")
    else:
        environment["DEL_AUDIT_CONFIG"] = str(folder / "config")
        say(
            f"There is no {CERTIFICATE}, so a quick one is made of public reviews, in some minutes. It "
            "tries two attacks only."
        )
        config, certificate = quick(folder, environment), folder / "certified" / "certificate.json"
    command = ["bundle", str(config), "--out", str(folder / "client"), "--certificate", str(certificate)]
    finished(command, environment, folder)

    quickly = ["--accept-quick"]
    with contextlib.ExitStack() as running:
        step(2, "The server: it holds the language model, and never sees a word that the user writes")
        server = free_port()
        command = ["serve", str(config), "--certificate", str(certificate), "--port", str(server), *quickly]
        say(running.enter_context(started(command, server, environment, folder)))

        step(3, "The proxy on the user's machine: OpenAI's API in, noisy bits out")
        wire, proxy = Wire(server), free_port()
        upstream = f"http://127.0.0.1:{wire.port}"
        command = ["proxy", str(folder / "client"), "--upstream", upstream, "--port", str(proxy), *quickly]
        say(running.enter_context(started(command, proxy, environment, folder)))

        step(4, "The user asks, with OpenAI's own Python client")
        say(f"user: {QUESTION}")
        address = f"http://127.0.0.1:{proxy}/v1"
        client = running.enter_context(openai.OpenAI(base_url=address, api_key="not asked for", max_retries=0))
        model = client.models.list().data[0].id
        answer = running.enter_context(
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=48, seed=1, stream=True
            )
        )
        words = (chunk.choices[0].delta.content or "" for chunk in answer)
        first = next((word for word in words if word), "")

        step(5, "What crossed the wire to the server")
        private = wire_page(wire, certificate)

        step(6, "The answer, as it is written by a small model that read noise")
        print(f"  assistant: {first}", end="", flush=True)
        for word in words:
            print(word, end="", flush=True)
        print()
        running.close()
    step(7, f"Server and proxy are stopped, after {time.monotonic() - begun:.0f} s in all")
    return 0 if private else 1


def wire_page(wire: Wire, certificate: Path) -> bool:
    """Prints what was sent for the question; returns whether none of its words is in there."""
    whole, request = wire.question()
    (message,) = [segment.content for segment in request.segments if isinstance(segment.content, bytes)]
    tokens = int.from_bytes(message[12:16], "little")
    body = json.loads(certificate.read_bytes())
    clean = body["bytes"]["a_prompt_of_clean_float32"] // body["configuration"]["policy"]["prompt_tokens"] * tokens
    print(textwrap.indent(textwrap.fill(message.hex(), 64), "  "))
    for count, what in (
        (len(QUESTION.encode()), f"the text, {tokens} tokens, which stayed here"),
        (len(message), "the released message above: header and noisy bits"),
        (len(whole.partition(b"\r\n\r\n")[2]), "the request that carries it"),
        (clean, "float32 embeddings of these tokens, which other split services send"),
    ):
        print(f"  {count:>9,} bytes  {what}")
    words = [word.strip(".?") for word in QUESTION.split()]
    found = [word for word in words if len(word) > 3 and word.lower().encode() in whole.lower()]
    if found:
        say(f"These words of the question were sent in clear: {', '.join(found)}.")
    else:
        say(f"No word of the question is in the {len(whole):,} bytes that were sent, HTTP's headers included.")
    return not found


def quick(folder: Path, environment: dict[str, str]) -> Path:
    """Returns a configuration that it certified in the folder: the example's, of public reviews alone."""
    halves = folder / "reviews.parquet"
    with contextlib.redirect_stdout(None):
        public_halves.main("package:drug-reviews", "train", str(halves))
    content = yaml.safe_load(EXAMPLE.read_text(encoding="utf8"))
    kept = {key: value for key, value in content.items() if key not in ("attribute", "task")}
    data = {"corpus": str(halves), "public_split": "fit", "private_split": "choose"}
    config = folder / "demo.yaml"
    config.write_text(yaml.safe_dump({**kept, **QUICK, "data": data}), encoding="utf8")
    finished(["certify", str(config), "--out", str(folder / "certified")], environment, folder)
    return config


def finished(arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """Runs a command of del-audit to its end; raises DemoError with its last lines where it fails."""
    log = folder / f"{arguments[0]}.log"
    with process(arguments, environment, log) as running:
        if running.wait() != 0:
            raise failed(arguments[0], log)


@contextlib.contextmanager
def started(arguments: list[str], port: int, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Runs a service until the block ends; gives what it says once it is healthy."""
    log = folder / f"{arguments[0]}.log"
    with process(arguments, environment, log) as running:
        until = time.monotonic() + STARTS_WITHIN
        while not healthy(port):
            if running.poll() is not None or time.monotonic() > until:
                raise failed(arguments[0], log)
            time.sleep(0.1)
        yield log.read_text(encoding="utf8").splitlines()[-1]


@contextlib.contextmanager
def process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command of del-audit in a session of its own, so that this program alone stops it; it is stopped here."""
    command = [sys.executable, "-m", "del_audit", *arguments]
    with log.open("wb") as stream:
        running = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def failed(name: str, log: Path) -> DemoError:
    """Returns the error of a command that ended, with the last lines that it wrote."""
    lines = log.read_text(encoding="utf8", errors="replace").splitlines()[-5:]
    return DemoError("\n".join([f"`del-audit {name}` failed:", *lines]))


def healthy(port: int) -> bool:
    """Returns whether a service of this machine says that it is well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def step(number: int, what: str) -> None:
    """Prints the heading of a step."""
    print(f"\n{number}. {what}", flush=True)


def say(what: str) -> None:
    """Prints a sentence of a step."""
    print(textwrap.fill(what, 110, initial_indent="  ", subsequent_indent="  "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
