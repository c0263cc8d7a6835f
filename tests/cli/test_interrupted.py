"""Interruptions at any moment: one line, code 130, no trace, nothing half-written."""

import random
import signal
import time

import pytest

from del_audit.process.exit_codes import DONE, HUNG_UP, INTERRUPTED, TERMINATED, UNEXPECTED

ACCOUNT = ("account", "--bits", "4", "--dim", "18", "--clip", "0.05", "--mu", "8")
READY = "import os, sys; from del_audit.entry import main; os.write(1, b'.')\n"
"""Says that this program's code is running: what comes before is Python's own start."""
SAID = {INTERRUPTED: "del-audit: interrupted\n", TERMINATED: "del-audit: terminated\n", HUNG_UP: "del-audit: hung up\n"}


def interrupted(start, wait_for, arguments, seconds, twice=False, **options):
    """Returns how a command ends that is interrupted so long after its code began to run."""
    process = start(*arguments, plant=options.pop("plant", "") + READY, **options)
    assert process.stdout.read(1) == b"."
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    if twice:
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    return wait_for(process)


def moments(count, longest, seed):
    drawn = random.Random(seed)
    return [round(drawn.uniform(0, longest), 3) for _ in range(count)]


def doing(what):
    """Returns code that replaces `account`; it says when it has begun."""
    body = "\n    ".join(["import gc, sys, time", "def begun(): print('in', flush=True)", *what.splitlines()])
    return f"import del_audit.commands.account as c\ndef run(arguments):\n    {body}\nc._account = run\n"


@pytest.mark.parametrize("seconds", moments(10, 0.5, seed=1))
def test_at_any_moment_of_a_short_command(start, wait_for, seconds):
    found = interrupted(start, wait_for, ACCOUNT, seconds, twice=True).cleanly(INTERRUPTED, DONE)
    assert found.err == (SAID[INTERRUPTED] if found.code else "")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", moments(20, 6.0, seed=2))
def test_at_any_moment_of_certify(start, wait_for, tiny_config, tmp_path, seconds):
    run(start, wait_for, ("certify", tiny_config, "--out", tmp_path / "out"), seconds, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", moments(20, 6.0, seed=3))
def test_at_any_moment_of_an_attack(start, wait_for, tiny_config, tmp_path, seconds):
    arguments = ("attack", "inversion", tiny_config, "--out", tmp_path / "out", "--attacks", "map", "--no-self-tests")
    run(start, wait_for, arguments, seconds, tmp_path)


@pytest.mark.parametrize("seconds", moments(3, 3.0, seed=4))
def test_at_some_moments_of_certify(start, wait_for, tiny_config, tmp_path, seconds):
    run(start, wait_for, ("certify", tiny_config, "--out", tmp_path / "out"), seconds, tmp_path)


def run(start, wait_for, arguments, seconds, folder):
    found = interrupted(start, wait_for, arguments, seconds, twice=True).cleanly(INTERRUPTED, DONE)
    if found.code == INTERRUPTED:
        assert found.err.endswith(SAID[INTERRUPTED])
        assert found.err.count("del-audit: interrupted") == 1
    out = folder / "out"
    if out.exists():  # finished just before: whole
        assert {"certificate.json", "report.html"} <= {path.name for path in out.iterdir()} or (
            out / "result.json"
        ).exists()
    assert not [path for path in folder.rglob(".*") if path.name != ".del-audit-private"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED), (signal.SIGHUP, HUNG_UP)]
)
@pytest.mark.parametrize(
    "what",
    [
        "begun(); time.sleep(60)",
        # lost in a callback that cannot raise
        "class A:\n    def __del__(self):\n        begun(); time.sleep(0.5)\nwhile True:\n    A(); time.sleep(0.1)",
        # caught by a library that catches everything
        "try:\n    begun(); time.sleep(60)\nexcept BaseException:\n    pass\ntime.sleep(60)",
        # made another error of
        "try:\n    begun(); time.sleep(60)\nexcept BaseException as e:\n    raise ImportError('broken') from None",
        # swallowed, and then the command succeeds
        "try:\n    begun(); time.sleep(60)\nexcept BaseException:\n    return 0",
        # ended by a library
        "try:\n    begun(); time.sleep(60)\nexcept BaseException:\n    sys.exit(0)",
    ],
)
def test_an_interruption_is_never_lost(start, wait_for, number, code, what):
    process = start(*ACCOUNT, plant=doing(what))
    assert process.stdout.readline() == b"in\n"
    process.send_signal(number)
    assert wait_for(process, 20).cleanly(code).err == SAID[code]


def test_cleaning_up_runs_to_its_end_however_often_the_keys_are_pressed(start, wait_for, tmp_path):
    what = (
        "import tempfile\nwith tempfile.TemporaryDirectory(dir='.'):\n    try:\n        begun(); time.sleep(60)\n"
        "    finally:\n        begun(); time.sleep(1.5); open('cleaned', 'w').close()"
    )
    process = start(*ACCOUNT, plant=doing(what))
    assert process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"in\n"
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert wait_for(process).cleanly(INTERRUPTED).err == SAID[INTERRUPTED]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cleaned", "state"]


def test_steps_that_belong_together_are_not_parted(start, wait_for, tmp_path):
    what = (
        "from mechanisms.shield import shielded\nwith shielded():\n    begun(); time.sleep(1.5)\n"
        "    open('second', 'w').close()\ntime.sleep(60)\nopen('third', 'w').close()"
    )
    process = start(*ACCOUNT, plant=doing(what))
    assert process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGINT)
    assert wait_for(process, 20).cleanly(INTERRUPTED).err == SAID[INTERRUPTED]
    assert (tmp_path / "second").exists()
    assert not (tmp_path / "third").exists()


def test_at_the_end_the_outcome_stands(start, wait_for):
    plant = "import atexit, time\natexit.register(lambda: (print('end', flush=True), time.sleep(0.3)))\n"
    process = start(*ACCOUNT, plant=plant + doing("return 3"))
    assert process.stdout.readline() == b"end\n"
    process.send_signal(signal.SIGINT)
    assert wait_for(process).cleanly(3).err == ""


def test_a_reader_that_does_not_read_can_be_left(start, wait_for):
    process = start(*ACCOUNT, plant=doing("begun(); print('x' * 300_000); return 0"))
    assert process.stdout.read(3) == b"in\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.wait(10)
    assert wait_for(process).cleanly(INTERRUPTED).err == SAID[INTERRUPTED]


def test_what_whoever_started_it_ignores_is_ignored(start, wait_for):
    plant = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start(*ACCOUNT, plant=plant + doing("begun(); time.sleep(0.5); return 3"))
    assert process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGHUP)
    wait_for(process).cleanly(3)


@pytest.mark.parametrize(("raised", "code"), [("KeyboardInterrupt", INTERRUPTED), ("ImportError", UNEXPECTED)])
def test_before_anything_is_handled_it_is_one_line(ended, raised, code):
    plant = (
        "import sys\nclass Finder:\n    @staticmethod\n    def find_spec(name, *_):\n"
        f"        if name == 'del_audit.process.exit_codes': raise {raised}\nsys.meta_path.insert(0, Finder)"
    )
    found = ended(*ACCOUNT, plant=plant).cleanly(code)
    assert found.err.count("\n") == 1
    assert found.err.startswith("del-audit: ")
