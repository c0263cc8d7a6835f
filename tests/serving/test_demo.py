"""The demonstration of `make serve-demo`, on the tiny service: it hides the question and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, "examples")
import serve_demo
serve_demo.EXAMPLE, serve_demo.CERTIFICATE = Path(sys.argv[1]), Path(sys.argv[2])
serve_demo.QUESTION = "headache relief after injection"
sys.exit(serve_demo.main())
"""


@pytest.fixture
def demo(deployment, tmp_path):
    """Returns the running demonstration, whose folder is made in tmp_path."""
    environment = {**os.environ, **deployment.state, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-c", RUN, deployment.config, deployment.certificate]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **options) as running:
        yield running
        running.kill()


def left(folder):
    """Returns the processes that have a folder in their command, and what lies in the folder."""
    lines = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines[path.parent.name] = path.read_bytes()
        except OSError:
            continue
    return [pid for pid, line in lines.items() if str(folder).encode() in line], list(folder.iterdir())


@pytest.mark.slow
def test_it_shows_a_question_that_the_server_cannot_read(demo, tmp_path):
    said, errors = demo.communicate(timeout=300)
    assert demo.returncode == 0, errors
    assert "No word of the question is in the" in said
    assert "\n  assistant: " in said
    assert "44454c31" in said  # the magic of a released message
    assert left(tmp_path) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(("step", "sent", "code"), [("4. ", signal.SIGINT, 130), ("2. ", signal.SIGTERM, 143)])
def test_stopped_in_the_middle_it_stops_all_that_it_started(demo, tmp_path, step, sent, code):
    until = time.monotonic() + 200
    while not demo.stdout.readline().startswith(step):
        assert time.monotonic() < until
    assert left(tmp_path)[1]
    demo.send_signal(sent)
    demo.communicate(timeout=60)
    assert demo.returncode == code
    assert left(tmp_path) == ([], [])
