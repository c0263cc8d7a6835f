"""The service with a real vLLM beside it: its greedy answers are those of the own engine."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
import torch
from tiny_service import certified_service
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from del_audit.serving.protocol import Request, Sampling, Segment
from del_audit.serving.upstream import Upstream
from mechanisms.client_bundle import load_client

VLLM = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "vllm"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(not VLLM.is_file(), reason="vLLM is not installed: make vllm"),
]
TEXTS = ["It hurts in my knee", "I took one tablet a day and slept badly", "pain"]


@contextlib.contextmanager
def started(command, port, log, **environment):
    """Runs a server until the block ends; it has five minutes until it answers /health."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=stream,
            stderr=stream,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 300
    try:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/health", trust_env=False).status_code == 200:
                    break
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def certified(tiny_lm_folder, tiny_bert_folder, tmp_path_factory):
    """A service of a model that vLLM runs on a CPU, with heads of 32 numbers; its words are far apart."""
    folder = tmp_path_factory.mktemp("service-for-vllm")
    config = LlamaConfig.from_pretrained(tiny_lm_folder)
    config.update({"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32})
    config.initializer_range = 0.3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder / "tiny-lm")
    AutoTokenizer.from_pretrained(tiny_lm_folder).save_pretrained(folder / "tiny-lm")
    with pytest.MonkeyPatch.context() as patched:
        return certified_service(folder, folder / "tiny-lm", tiny_bert_folder, patched.setenv, sends=3)


@pytest.fixture(scope="module")
def vllm(certified, tmp_path_factory):
    port = free_port()
    flags = "--dtype float32 --enable-prompt-embeds --no-enable-prefix-caching --enforce-eager --host 127.0.0.1 --port"
    model = certified.config.parent / "model"
    environment = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    log = tmp_path_factory.mktemp("vllm") / "log"
    with started([VLLM, "serve", model, *flags.split(), port], port, log, **environment) as url:
        yield url


def serving(service, log, *options):
    """Returns `del-audit serve` of a service, as a context of its URL."""
    port = free_port()
    command = [sys.executable, "-m", "del_audit", "serve", service.config, "--certificate", service.certificate]
    options = ["--accept-quick", "--no-padding", "--port", port, *options]
    return started([*command, *options], port, log, **service.state)


def answers(url, requests):
    """Returns (texts by choice, why each ended, tokens of the prompt and of the answers) for requests asked at once."""

    async def asked(client, request):
        texts, ends = {}, {}
        async for event in Upstream(client, request.certificate).generate(request):
            assert event.error is None
            for choice, text in event.pieces:
                texts[choice] = texts.get(choice, "") + text
            ends |= dict(event.finished)
        return texts, ends, event.usage

    async def all_asked():
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=120) as client:
            return await asyncio.gather(*(asked(client, request) for request in requests))

    return asyncio.run(all_asked())


def certificate_of(url) -> bytes:
    return bytes.fromhex(httpx2.get(f"{url}/v1/about", trust_env=False).json()["certificate"])


def test_greedy_answers_are_those_of_the_own_engine(vllm, certified, monkeypatch, tmp_path):
    for name, value in certified.state.items():
        monkeypatch.setenv(name, value)
    client = load_client(certified.bundle, accept_quick=True)
    segments = [(Segment(role, client.release(text)),) for role, text in zip(("user", "", "user"), TEXTS, strict=True)]
    with serving(certified, tmp_path / "own.log") as own:
        certificate = certificate_of(own)

        def requests(how):
            return [Request(certificate, os.urandom(16), None, each, how) for each in segments]

        expected = answers(own, requests(Sampling(24, 0.0, 1.0, 1, 1)))
    with serving(certified, tmp_path / "beside.log", "--engine", vllm) as beside:
        assert answers(beside, requests(Sampling(24, 0.0, 1.0, 1, 1))) == expected
        (twice,) = answers(beside, requests(Sampling(24, 0.0, 1.0, 1, 2))[:1])
        assert twice[0] == dict.fromkeys((0, 1), expected[0][0][0])
        drawn = [answers(beside, requests(Sampling(12, 1.0, 0.9, 7, 3))[:1]) for _ in range(2)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn[0][0][0].values())) == 3
    assert len({texts[0] for texts, _, _ in expected}) == 3
