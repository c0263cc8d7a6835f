"""What the service costs: the proxy beside a direct request, the server beside its bare engine.

The proxy is measured with a tiny certified service before a server that only notes when bytes arrive; the server with
the model of examples/smollm2-reviews.yaml. Prints latencies, memory, bytes and ratios.

    python benchmarks/serving.py [--requests 300] [--tokens 64]
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "serving")]

from conftest import tiny_bert_folder, tiny_lm_folder
from processes import free_port, started
from tiny_service import certified_service

from del_audit.configuration.configuration import load_configuration
from del_audit.serving.deployed import Deployed
from del_audit.serving.events import Event, event_bytes
from del_audit.serving.gate import Certified, Gate
from del_audit.serving.keys import Keys
from del_audit.serving.prefixes import Prefixes
from del_audit.serving.protocol import (
    CERTIFICATE_HEADER,
    REQUEST_TYPE,
    Request,
    Sampling,
    Segment,
    read_request,
    request_bytes,
)
from del_audit.serving.server_app import ServerApp
from del_audit.serving.transformers_engine import TransformersEngine
from mechanisms.generation import GenerationSettings, Order, WritingBatch
from mechanisms.randomness import SystemRandomness, simulation_generator


class Folders:
    """Makes folders as the tests' fixtures ask for them."""

    def __init__(self, inside: Path) -> None:
        self._inside = inside

    def mktemp(self, name: str) -> Path:
        """Returns a new folder."""
        made = self._inside / name
        made.mkdir()
        return made


class Noting(BaseHTTPRequestHandler):
    """A server that says which certificate it has, and notes when each request arrives."""

    protocol_version = "HTTP/1.1"
    certificate, arrived, bodies = "", list[float](), list[bytes]()

    def do_GET(self) -> None:
        """Says which certificate it has."""
        said = json.dumps({"protocol": 1, "name": "tiny", "certificate": self.certificate}).encode()
        self._answer("application/json", said)

    def do_POST(self) -> None:
        """Notes when a request arrived, and answers with one word."""
        self.arrived.append(time.perf_counter())
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self._answer(
            "text/event-stream", event_bytes(Event(((0, "yes"),), ((0, "stop"),))) + event_bytes(Event(usage=(1, 1)))
        )

    def _answer(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.send_header(CERTIFICATE_HEADER, self.certificate)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def quantiles(seconds: list[float]) -> str:
    half, most = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return f"p50 {half:.1f} ms, p99 {most:.1f} ms"


def proxy(folder: Path, requests: int) -> None:
    """Measures the proxy's start, memory and time before the first byte leaves, beside a direct request."""
    folders = Folders(folder)
    models = [getattr(f, "__wrapped__", f)(folders) for f in (tiny_lm_folder, tiny_bert_folder)]
    made = certified_service(
        folders.mktemp("service"), *models, os.environ.__setitem__, sends=3, prompt_tokens=160, session_tokens=100_000
    )
    Noting.certificate = hashlib.sha256(made.certificate.read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream = f"http://127.0.0.1:{server.server_port}"
    port, begun = free_port(), time.perf_counter()
    with started(["proxy", str(made.bundle), "--upstream", upstream], port, made.state) as process:
        print(f"proxy: answers {time.perf_counter() - begun:.2f} s after its start (target 1.5 s)")
        generator = simulation_generator(0, "prompts")
        latencies: list[float] = []
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(requests):
                text = "".join(generator.choice(list("bcdfghjklmnpqrstvwxz"), 128))
                body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 1}
                at = time.perf_counter()
                client.post("/v1/chat/completions", json=body).raise_for_status()
                latencies.append(Noting.arrived[-1] - at)
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    tokens = [int.from_bytes(read_request(body).segments[0].content[12:16], "little") for body in Noting.bodies]
    message = [len(read_request(body).segments[0].content) for body in Noting.bodies]
    direct: list[float] = []
    with httpx2.Client(base_url=upstream) as client:
        for body in Noting.bodies[:requests]:
            at = time.perf_counter()
            client.post("/v1/generate", content=body)
            direct.append(Noting.arrived[-1] - at)
    print(
        f"proxy: {np.mean(tokens):.0f} tokens per prompt, {requests} requests, until the first byte reaches the server:"
    )
    print(f"  through the proxy {quantiles(latencies)} (target 10 and 25 ms)")
    print(f"  sent directly     {quantiles(direct)}; ratio of medians {np.median(latencies) / np.median(direct):.1f}")
    print(f"proxy: peak memory {memory / 1024:.0f} MB (target 200 MB)")
    beside = [len(body) - size for body, size in zip(Noting.bodies, message, strict=False)]
    print(f"request: {max(beside)} bytes beside the released message (target 96)")
    server.shutdown()


def server(new_tokens: int, concurrent: int = 16) -> None:
    """Measures the tokens per second of concurrent requests, through the server and of the bare engine."""
    deployed = Deployed.of(load_configuration(ROOT / "examples" / "smollm2-reviews.yaml"))
    language = deployed.language
    prefixes = Prefixes(language, deployed.pipeline, deployed.soft_prompt)
    certificate = Certified(None, bytes(32), datetime.now(UTC) + timedelta(days=1))  # type: ignore[arg-type]
    texts = [f"Patient {number} took the drug for a week and says that the pain is" for number in range(concurrent)]
    messages = [deployed.pipeline.release(language.tokenizer(text).input_ids, SystemRandomness()) for text in texts]
    embedded = [prefixes.of([Segment("", message)]) for message in messages]
    how = GenerationSettings(new_tokens=new_tokens, temperature=1.0, top_p=1.0, seed=1)

    def bare() -> float:
        begun, written = time.perf_counter(), 0
        batch = WritingBatch(language.model, [Order(prefix, how) for prefix in embedded])
        while batch.going:
            written += sum(token is not None for token in batch.step().values())
        return written / (time.perf_counter() - begun)

    def service() -> float:
        engine = TransformersEngine(language.model, language.tokenizer)
        app = ServerApp("bench", Gate(lambda: certificate), prefixes, engine, language.context_tokens, Keys({}))
        sampling = Sampling(new_tokens, 1.0, 1.0, 1, 1)

        async def one(client: httpx2.AsyncClient, message: bytes) -> int:
            request = Request(bytes(32), os.urandom(16), None, (Segment("", message),), sampling)
            headers = {"content-type": REQUEST_TYPE}
            response = await client.post("/v1/generate", content=request_bytes(request), headers=headers)
            return int(json.loads(response.text.rsplit('"u":', 1)[1].split("]")[0] + "]")[1])

        async def every() -> int:
            transport = httpx2.ASGITransport(app=app.app())
            async with httpx2.AsyncClient(transport=transport, base_url="http://server", timeout=600) as client:
                found = await asyncio.gather(*(one(client, message) for message in messages))
            await engine.close()
            return sum(found)

        begun = time.perf_counter()
        written = asyncio.run(every())
        return written / (time.perf_counter() - begun)

    bare()  # warms the caches of both
    rates = np.array([(bare(), service()) for _ in range(3)])
    ratios = rates[:, 1] / rates[:, 0]
    print(
        f"server: {concurrent} requests at once, {new_tokens} new tokens, {torch.get_num_threads()} threads: "
        f"{np.median(rates[:, 1]):.0f} tokens/s; bare engine {np.median(rates[:, 0]):.0f}; ratio "
        f"{np.median(ratios):.2f} (target .9)"
    )
    widths = [
        len(message) / (embedded[0].shape[1] * 4 * (len(prefix) - 1))
        for message, prefix in zip(messages, embedded, strict=True)
    ]
    print(f"server: a released message has 1/{1 / max(widths):.0f} of the bytes of float32 embeddings (target 1/100)")


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        proxy(Path(folder), arguments.requests)
    server(arguments.tokens)


if __name__ == "__main__":
    main()
