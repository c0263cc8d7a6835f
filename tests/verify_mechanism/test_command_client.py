"""Clients that are programs: their noise, their refusals, and every way in which a program fails to answer."""

import sys
import time

import pytest

from del_audit.verify_mechanism.json_client import MOST_FAULTS
from del_audit.verify_mechanism.program import Program
from del_audit.verify_mechanism.target import NoAnswer

MESSAGES = """
import base64
import numpy as np
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

def sent(values):
    found = counts_of(values)
    return found if "error" in found else pack(np.array(found["counts"]), QuantizerSpec(4, 6, 0.05, 0.1))

def encoded(message):
    return message if isinstance(message, dict) else {"message": base64.b64encode(message).decode()}
"""


def test_a_right_program_passes(program, verify):
    ran = verify("--command", program())
    assert ran.code == 0
    assert ran.finding("contract", "connection")["evidence"].startswith("all of ")
    assert ran.finding("independence", "processes")["p_value"] > 0
    assert set(ran.not_tested) == {"message", "resending, charged", "known answers"}
    assert ran.not_tested["message"] == "the program answers with counts, no messages"


def test_a_right_program_that_sends_messages_passes(program, verify):
    ran = verify("--command", program(MESSAGES + "def answer(values, number):\n    return encoded(sent(values))"))
    assert ran.code == 0
    assert "message" not in ran.not_tested
    assert ran.finding("message", "spare bits")["evidence"].startswith("as it must be")


def test_a_program_seeded_at_its_start_is_caught_by_fresh_processes(program, verify):
    ran = verify("--command", program("RNG = Random(11)"))
    assert ran.code == 1
    assert ran.rejected == {"independence: processes"}
    assert "the first child and the second child" in ran.finding("independence", "processes")["evidence"]


@pytest.mark.parametrize(
    ("answer", "rejected"),
    [
        ("counts_of([[value if math.isfinite(value) else 0 for value in row] for row in values])", "clipping: refused"),
        ("{'counts': [[count // 2 for count in row] for row in found['counts']]}", "law: scale"),
        ("{'counts': list(zip(*found['counts']))}", "contract: answers"),
        ("{'counts': [row[:-1] for row in found['counts']]}", "contract: answers"),
        ("{'counts': [[16] * 6] * len(values)}", "contract: answers"),
        ("{'counts': [[7.5] * 6] * len(values)}", "contract: answers"),
        ("found if len(values) > 1 or number == 0 else {'error': 'too short'}", "contract: answers"),
    ],
    ids=["NaN", "law", "transposed", "cut", "out of range", "floats", "refuses short ones"],
)
def test_a_broken_program_is_a_fault(program, verify, answer, rejected):
    refused = "" if "isfinite" in answer else "\n    if 'error' in found:\n        return found"
    lines = f"def answer(values, number):\n    found = counts_of(values){refused}\n    return {answer}"
    ran = verify("--command", program(lines))
    assert ran.code == 1
    assert rejected in ran.rejected


def test_what_is_sent_for_nan_is_no_refusal_even_where_it_cannot_be_read(program, verify):
    source = "def answer(values, number):\n    found = sent(values)\n"
    source += "    return {'message': ''} if isinstance(found, dict) else encoded(found)"
    ran = verify("--command", program(MESSAGES + source))
    assert ran.code == 1
    assert "clipping: refused" in ran.rejected


def test_spare_bits_that_are_set_are_a_fault(program, verify):
    """4 bits of 5 numbers leave half a byte after an odd number of tokens."""
    source = MESSAGES.replace("(4, 6,", "(4, 5,") + (
        "def answer(values, number):\n    found = sent(values)\n    if isinstance(found, dict) or len(values) % 2 == 0:"
        "\n        return encoded(found)\n    return encoded(found[:-1] + bytes([found[-1] | 5]))"
    )
    claim = ("--bits", "4", "--dim", "5", "--clip", "0.05", "--scale", "0.1")
    ran = verify("--command", program(source), claim=claim)
    assert ran.code == 1
    assert "message: spare bits" in ran.rejected
    assert "contract: answers" in ran.rejected  # no server would read its counts either


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("sys.exit('out of memory')", "the program ended with status 1, saying 'out of memory'"),
        ("os._exit(0)", "the program ended with status 0"),
        ("os.kill(os.getpid(), 11)", "the program got signal 11"),
        ("os.close(1) or time.sleep(60)", "the program closed its output"),
        ("time.sleep(60)", "none came within 2 seconds"),
        ("'no object'", "one of counts, message, error"),
        ("print('debug: here') or counts_of(values)", "no JSON came back but 'debug: here'"),
        ("print('[' * 10_000_000, flush=True)", "bytes came back"),
    ],
    ids=["dies", "ends", "is killed", "closes its output", "hangs", "text", "prints", "huge"],
)
@pytest.mark.parametrize("at_first", [True, False], ids=["at first", "midway"])
def test_a_program_that_does_not_answer(program, verify, answer, says, at_first):
    """A user error where it never answers, a fault where it did: what failed was not tested."""
    condition = "True" if at_first else "number == 9"
    seconds = "2" if answer == "time.sleep(60)" else "20"
    source = f"import os, time\ndef answer(values, number):\n    return {answer} if {condition} else counts_of(values)"
    ran = verify("--command", program(source), "--time-out", seconds)
    if at_first:
        assert ran.code == 2
        assert "release one row of 6 zeros at first" in ran.error
        assert says in ran.error
    else:
        assert ran.code == 1
        assert "contract: connection" in ran.rejected
        assert says in ran.finding("contract", "connection")["evidence"]


def test_a_program_that_dies_in_every_call_is_given_up(program, verify):
    source = "def answer(values, number):\n    return counts_of(values) if len(values) == 1 else sys.exit(3)"
    ran = verify("--command", program(source))
    assert ran.code == 1
    assert ran.finding("contract", "connection")["evidence"].count("ended with status 3") == MOST_FAULTS
    assert "not called again" in ran.finding("contract", "answers")["evidence"]


def test_a_program_that_answers_twice_is_a_fault(program, verify):
    source = "def answer(values, number):\n    number == 0 or print('{}', flush=True)\n    return counts_of(values)"
    ran = verify("--command", program(source))
    assert ran.code == 1
    assert "contract: connection" in ran.rejected


def test_a_program_that_floods_its_standard_error_is_read_and_shown(program, verify):
    source = "def answer(values, number):\n    print('x' * 100_000 + '\\nlast words', file=sys.stderr)\n"
    ran = verify("--command", program(source + "    return counts_of(values)"))
    assert ran.code == 0
    assert "standard error: last words" in ran.document["notes"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no-such-program-anywhere --flag", "--command to name a program that can be started"),
        ("'unclosed", '--command to be a command line, got "\'unclosed": No closing quotation.'),
        ("  ", "--command to name a program, got nothing"),
        ("true", "the program ended with status 0"),
        ("cat", "expected one of counts, message, error, alone in an object"),
        ("echo $HOME; true", "$HOME; true"),
    ],
)
def test_a_command_that_is_no_client_is_a_user_error(verify, command, says):
    ran = verify("--command", command)
    assert ran.code == 2
    assert says in ran.error


def test_no_program_is_left_running(program, verify, tmp_path):
    """Neither the programs nor what they started, nor one that goes on after its input has ended."""
    source = f"""
import os, subprocess, time
child = subprocess.Popen(["sleep", "600"])
with open({str(tmp_path / "pids")!r}, "a") as file:
    print(os.getpid(), child.pid, file=file, flush=True)

def answer(values, number):
    return counts_of(values) if number < 5 else time.sleep(600)
"""
    ran = verify("--command", program(source), "--time-out", "2")
    assert ran.code == 1
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 * (
        1 + MOST_FAULTS
    )  # the first answer's, and one that is started after each fault but the last
    assert not [pid for pid in pids if _runs(pid)]


def _runs(pid):
    """Returns whether a process runs; one that has ended and is not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_line_larger_than_a_pipe_goes_through_while_the_program_writes():
    echo = "import sys\nfor line in sys.stdin:\n    sys.stderr.write(line)\n    print(line, end='', flush=True)"
    running = Program([sys.executable, "-c", echo])
    line = b"x" * 1_000_000
    try:
        assert running.ask(line, 2_000_000, 20.0) == line
        assert running.ask(b"y", 100, 20.0) == b"y"
        with pytest.raises(NoAnswer, match="more than 1,000 bytes"):
            running.ask(line, 1000, 20.0)
    finally:
        running.close()


def test_a_program_that_never_reads_is_left_when_time_is_up():
    running = Program(["sleep", "600"])
    start = time.monotonic()
    try:
        with pytest.raises(NoAnswer, match=r"none came within 0\.2 seconds"):
            running.ask(b"x" * 1_000_000, 100, 0.2)
    finally:
        running.kill()
    assert time.monotonic() - start < 5
