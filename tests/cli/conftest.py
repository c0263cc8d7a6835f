"""The command as a process of its own, which can be started badly and stopped at any moment."""

import csv
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
START = "from del_audit.entry import main; main()"
"""What the installed command runs."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    def cleanly(self, *codes):
        """Returns itself; fails for another code than those, and for anything that Python says of itself."""
        assert self.code in codes, (self.code, self.err[-2000:])
        for word in ("Traceback", "Exception ignored", "During handling", "Fatal Python error"):
            assert word not in self.err, self.err[-2000:]
            assert word not in self.out, self.out[-2000:]
        return self

    @property
    def line(self):
        """The last line of standard error."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@pytest.fixture
def home(tmp_path):
    """Returns the folders of a user of whom nothing is known, as an environment."""
    (tmp_path / "state").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON", "DEL_AUDIT_"))}
    own = {"DEL_AUDIT_STATE": str(tmp_path / "state"), "DEL_AUDIT_CONFIG": str(tmp_path / "config")}
    return {**kept, **own, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "TERM": "dumb"}


def heed_signals():
    """Undoes what the runner was started with: what a script starts in the background ignores Ctrl-C, as its own do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(home, tmp_path):
    """Returns a caller that starts the command. plant: code that runs before it. redirect: a shell's words."""

    def call(*arguments, plant="", redirect="", **options):
        command = [sys.executable, "-c", f"{plant}\n{START}", *map(str, arguments)]
        if redirect:
            command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *command]
        piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**home, **options.pop("env", {})}
        options = {**piped, "cwd": tmp_path, "preexec_fn": heed_signals, **options}
        return subprocess.Popen(command, **options, env=environment)

    return call


@pytest.fixture
def ended(start):
    """Returns a caller that runs the command to its end, within two minutes."""

    def call(*arguments, **options):
        return wait(start(*arguments, **options))

    return call


def wait(process, seconds=120):
    """Returns how a process ended."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return Ended(process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"))


@pytest.fixture
def wait_for():
    """Returns `wait`."""
    return wait


@pytest.fixture(scope="session")
def tiny_reviews(tmp_path_factory):
    """Returns a file of sixty made-up reviews."""
    words = ("doctor", "tablet", "pain", "week", "sleep", "sister", "tired", "time", "work", "head")
    path, drawn = tmp_path_factory.mktemp("reviews") / "reviews.csv", random.Random(0)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "split"])
        for index in range(60):
            text = " ".join(drawn.choice(words) for _ in range(36))
            writer.writerow([f"Review {index}: café, {text}", "train" if index < 36 else "test"])
    return path


@pytest.fixture
def tiny_config(tiny_lm_folder, tiny_bert_folder, tiny_reviews, tmp_path):
    """Returns the file of a configuration that is certified in seconds."""
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "sentence_encoder": str(tiny_bert_folder),
        "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": str(tiny_reviews), "text_column": "text"},
        "evaluation": {
            "attacks": ["baseline", "cosine", "map"],
            "attacked_tokens": 1_000,
            "context_prompts": 20,
            "prompts": 6,
            "response_tokens": 8,
            "generations": 2,
            "generated_tokens": 3,
            "other_bits": [],
            "other_prompts": 4,
        },
        "policy": {"attack_success_at_most": 0.9, "prompt_tokens": 16, "assurance": "quick"},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
