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
        command = [str(PYTHON), str(HERE / "other_clients.py"), f"http://127.0.0.1:{other}/v1", "the pain was gone"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    texts = {name: said for name, said in told.items() if isinstance(said, str) and name != "litellm finished"}
    assert len(texts) == 5
    assert all(texts.values()), told
    assert told["litellm finished"] in ("stop", "length")
    assert 1 <= told["tokens"] <= 5
