"""Ctrl-C and SIGTERM at any moment, and two runs in one folder: one line, no verdict's code, nothing half-written."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from del_audit.cli import main
from mechanisms.folder_lock import held

ROOT = Path(__file__).parents[2]
ACCOUNT = ["account", "--bits", "4", "--dim", "18", "--clip", "1", "--mu", "2"]
USER_ERROR, UNEXPECTED, INTERRUPTED, TERMINATED = 2, 70, 130, 143


def ended(arguments, shell="", prelude="", **environment):
    """Returns (exit code, stdout, stderr) of the command in a process of its own; shell: what follows it in bash."""
    start = [sys.executable, "-m", "del_audit"]
    if prelude:
        start = [sys.executable, "-c", f"{prelude}\nfrom del_audit.entry import main\nmain()"]
    command = [*start, *arguments]
    if shell:
        command = ["bash", "-c", f'set -o pipefail; "$@" {shell}', "bash", *command]
    kept = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        command, capture_output=True, env={k: v for k, v in kept.items() if v is not None}, stdin=subprocess.DEVNULL
    )
    said = done.stderr.decode(errors="replace")
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    return done.returncode, done.stdout, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seed", range(4))
def test_interrupted_while_it_starts(seed, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "del_audit", "account", "--session", "/dev/stdin"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    time.sleep(0.08 + random.Random(seed).random() * 0.3)  # the interpreter itself has begun
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said.decode()
    assert process.returncode in ((INTERRUPTED,) if number == signal.SIGINT else (TERMINATED,)) + (USER_ERROR,)


def test_an_interruption_in_a_callback_is_not_lost():
    planted = (
        "import del_audit.cli as c, signal, time\n"
        "class Slow:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
        "def _wait(_):\n    Slow()\n    time.sleep(30)\n    return 0\n"
        "c._account_quantizer = _wait"
    )
    begun = time.monotonic()
    code, _, said = ended(ACCOUNT, prelude=planted)
    assert (code, said) == (INTERRUPTED, "del-audit: interrupted\n")
    assert time.monotonic() - begun < 20


def test_an_interruption_that_a_library_turned_into_another_error():
    planted = (
        "import del_audit.cli as c, signal\n"
        "def _import(_):\n    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('numpy failed to import')\n"
        "c._account_quantizer = _import"
    )
    assert ended(ACCOUNT, prelude=planted)[::2] == (INTERRUPTED, "del-audit: interrupted\n")


@pytest.fixture
def tiny(tmp_path, tiny_lm_folder, tiny_bert_folder):
    """Returns a configuration of the tiny models on made-up notes."""
    rows = ["text,split"]
    words = ["doctor", "tablet", "pain", "week", "sleep", "sister", "tired", "time", "work", "head"]
    draw = random.Random(0)
    rows += [f"{' '.join(draw.choices(words, k=30))},{'train' if i < 40 else 'test'}" for i in range(80)]
    (tmp_path / "notes.csv").write_text("\n".join(rows) + "\n")
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "sentence_encoder": str(tiny_bert_folder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": str(tmp_path / "notes.csv"), "text_column": "text"},
        "evaluation": {"attacks": ["baseline", "cosine", "map", "beam"], "context_prompts": 20, "prompts": 20,
                       "generations": 4, "attacked_tokens": 200, "response_tokens": 4, "generated_tokens": 4},
        "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16, "assurance": "quick"},
    }  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_two_runs_in_one_folder(tiny, tmp_path, capsys):
    for arguments, folder in (
        (["certify", str(tiny), "--out", str(tmp_path / "out")], tmp_path / "out"),
        (["attack", "inversion", str(tiny), "--out", str(tmp_path / "other")], tmp_path / "other.partial"),
        (["tune", str(tiny), "--out", str(tmp_path / "tuned")], tmp_path / "tuned.partial"),
    ):
        folder.mkdir()
        with held(folder, folder):
            begun = time.monotonic()
            assert main(arguments) == USER_ERROR
        assert "no other process to write to" in capsys.readouterr().err
        assert list(folder.iterdir()) == []
        assert time.monotonic() - begun < 20  # nothing was loaded


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_interrupted_at_any_moment_nothing_is_half_written(seed, tiny, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "del_audit", "certify", str(tiny), "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    time.sleep(0.1 + random.Random(seed).random() * 12)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert "Traceback" not in said.decode()
    assert "Exception ignored" not in said.decode()
    left = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if process.returncode == INTERRUPTED:
        assert left in ([], ["certificate.json", "report.html"])
    else:
        assert process.returncode in (0, 1, 3)
        assert left == ["certificate.json", "report.html"]
