"""Ways to end badly: whatever becomes of the process's output, folders and signals, its exit code is what it says."""

import json
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

FIXTURES = Path(__file__).parents[1] / "certificate" / "fixtures"
ROOT = Path(__file__).parents[2]
ACCOUNT = ["account", "--bits", "4", "--dim", "18", "--clip", "1", "--mu", "2"]
USER_ERROR, UNEXPECTED, INTERRUPTED, TERMINATED = 2, 70, 130, 143


@pytest.fixture
def tampered(tmp_path):
    """Returns the arguments that verify a certificate that was changed after it was signed."""
    whole = (FIXTURES / "certificate-3.json").read_bytes()
    changed = whole.replace(b'"verdict":"certified"', b'"verdict":"refused"')
    assert len(changed) != len(whole)
    path = tmp_path / "tampered.json"
    path.write_bytes(changed)
    return ["verify", str(path), "--trust", str(FIXTURES / "certificate-3.pub")]


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


@pytest.mark.parametrize("shell", ["| true", "| head -n 1", "| head -c 1", ">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("asked", ["tampered", "account"])
def test_a_reader_that_goes_and_a_closed_output_leave_the_verdict(asked, shell, tampered):
    code, _, _ = ended(tampered if asked == "tampered" else ACCOUNT, shell)
    assert code == (1 if asked == "tampered" else 0)


def test_help_into_a_closed_pipe():
    assert ended(["--help"], "| true")[0] == 0


def test_a_full_disk_is_never_success(tampered):
    code, _, said = ended(ACCOUNT, ">/dev/full")
    assert code == USER_ERROR
    assert "standard output could not be written (No space left on device)" in said
    assert ended(tampered, ">/dev/full")[0] == 1
    assert ended([*ACCOUNT, "--json"], ">/dev/full 2>/dev/full")[0] == USER_ERROR


def test_an_output_that_is_slow_and_does_not_block_gets_everything():
    read, write = os.pipe()
    os.set_blocking(write, False)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom del_audit import cli\ncli.run = lambda: print('x' * 300_000) or 3\n"
         "from del_audit.entry import main\nmain()"],
        stdout=write, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    os.close(write)
    time.sleep(1)  # the pipe holds 64 KiB
    with os.fdopen(read, "rb") as stream:
        assert len(stream.read()) == 300_001
    assert process.wait() == 3
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    "error",
    ["AttributeError('x')", "MemoryError()", "RecursionError()", "OSError(5, 'bad')", "SystemExit(0)", "SystemExit(1)"],
)
def test_an_unexpected_error_is_no_verdict(error, tmp_path):
    planted = f"import del_audit.accounting.accountant as a\ndef _fail(*_, **__): raise {error}\n"
    planted += "import del_audit.cli as c\nc._account_quantizer = _fail"
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    code, out, said = ended(ACCOUNT, prelude=planted, DEL_AUDIT_STATE=str(state))
    assert (code, out, len(said.splitlines())) == (UNEXPECTED, b"", 1)
    (log,) = (state / "errors").iterdir()
    assert str(log) in said
    assert log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in log.read_text()
    assert "--mu" in log.read_text()


def test_an_unexpected_error_without_a_place_for_its_log(tmp_path):
    planted = "import del_audit.cli as c\ndef _fail(_): raise AttributeError('x')\nc._account_quantizer = _fail\n"
    planted += "import tempfile; tempfile.mkstemp = lambda *_, **__: (_ for _ in ()).throw(OSError(28, 'full'))"
    code, _, said = ended(ACCOUNT, prelude=planted, DEL_AUDIT_STATE="/proc/nowhere")
    assert code == UNEXPECTED
    assert "No log file could be written" in said


def test_a_failing_exit_handler_changes_nothing():
    assert ended(ACCOUNT, prelude="import atexit\natexit.register(lambda: 1 / 0)")[0] == 0


def test_an_import_that_fails_is_no_verdict(tmp_path):
    prelude = "import sys\nsys.modules['del_audit.cli'] = None"
    code, _, said = ended(ACCOUNT, prelude=prelude)
    assert code == UNEXPECTED
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": None},
        {"HOME": "/proc/nowhere", "DEL_AUDIT_STATE": None, "DEL_AUDIT_CONFIG": None},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"COLUMNS": "40"},
        {"COLUMNS": "0"},
        {"TERM": "dumb"},
        {"PYTHONWARNINGS": "error"},
    ],
    ids=str,
)
def test_odd_environments(environment, tampered):
    code, out, _ = ended([*ACCOUNT, "--json"], **environment)
    assert code == 0
    assert json.loads(out)
    assert ended(ACCOUNT, **environment)[0] == 0
    assert ended(tampered, **environment)[0] == 1


def test_no_home_at_all_is_one_line():
    planted = "import pathlib\ndef _none(*_): raise RuntimeError('Could not determine home directory.')\n"
    planted += "pathlib.Path.home = _none"
    names = dict.fromkeys(("DEL_AUDIT_STATE", "DEL_AUDIT_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME"))
    for arguments in (["key", "show"], ["ledger"], ["private"]):
        code, _, said = ended(arguments, prelude=planted, **names)
        assert code == USER_ERROR
        assert "DEL_AUDIT_" in said


def test_a_current_folder_that_is_gone(tmp_path):
    planted = f"import os\nos.makedirs({str(tmp_path / 'gone')!r})\nos.chdir({str(tmp_path / 'gone')!r})\n"
    planted += f"os.rmdir({str(tmp_path / 'gone')!r})"
    assert ended(ACCOUNT, prelude=planted)[0] in (0, USER_ERROR)
    assert ended(["certify", "none.yaml"], prelude=planted)[0] == USER_ERROR


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


@pytest.mark.slow
def test_certify_for_a_reader_that_goes_writes_all_of_it(tiny, tmp_path):
    for place, shell in enumerate(("| true", ">&-", ">/dev/full")):
        out = tmp_path / f"out-{place}"
        code, _, _ = ended(["certify", str(tiny), "--out", str(out)], shell, OMP_NUM_THREADS="1")
        verdict = json.loads((out / "certificate.json").read_text())["verdict"]
        named = {"certified": 0, "refused": 1, "inconclusive": 3}[verdict]
        assert code == (named if named or shell != ">/dev/full" else USER_ERROR)
        assert (out / "report.html").exists()
