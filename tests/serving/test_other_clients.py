"""LiteLLM and LangChain, unchanged, before the proxy; they live in a virtual environment of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import free_port, started
from tiny_service import certified_service

HERE = Path(__file__).parent
ASK = """
import asyncio
import json
import sys

import litellm
from langchain_openai import ChatOpenAI

url, question = sys.argv[1:]
litellm.telemetry = False
asked = {"model": "openai/tiny", "api_base": url, "api_key": "none", "max_tokens": 5, "seed": 1}
messages = [{"role": "user", "content": question}]
whole = litellm.completion(messages=messages, **asked)
pieces = list(litellm.completion(messages=messages, stream=True, **asked))
model = ChatOpenAI(model="tiny", base_url=url, api_key="none", max_tokens=5, seed=1, max_retries=0)
chain = model.invoke(question)
streamed = list(model.stream(question))
together = asyncio.run(model.ainvoke(question))
print(
    json.dumps(
        {
            "litellm": whole.choices[0].message.content,
            "litellm streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces),
            "litellm finished": [piece.choices[0].finish_reason for piece in pieces][-1],
            "langchain": chain.content,
            "langchain streamed": "".join(piece.content for piece in streamed),
            "langchain async": together.content,
            "tokens": chain.usage_metadata["output_tokens"],
        }
    )
)
"""
"""Run where LiteLLM and LangChain are: both ask the proxy, and a line of JSON says what they were told."""
PYTHON = HERE.parents[1] / ".venv-clients" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-clients: `make clients` installs LiteLLM and LangChain"),
]


def test_both_are_answered_whole_and_streamed(tiny_lm_folder, tiny_bert_folder, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("clients")
    service = certified_service(folder, tiny_lm_folder, tiny_bert_folder, monkeypatch.setenv, sends=3)
    port, other = free_port(), free_port()
    serve = ["serve", str(service.config), "--certificate", str(service.certificate)]
    proxy = ["proxy", str(service.bundle), "--upstream", f"http://127.0.0.1:{port}"]
    with started(serve, port, service.state), started(proxy, other, service.state):
        command = [str(PYTHON), "-c", ASK, f"http://127.0.0.1:{other}/v1", "the pain was gone"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    texts = {name: said for name, said in told.items() if isinstance(said, str) and name != "litellm finished"}
    assert len(texts) == 5
    assert all(texts.values()), told
    assert told["litellm finished"] in ("stop", "length")
    assert 1 <= told["tokens"] <= 5
