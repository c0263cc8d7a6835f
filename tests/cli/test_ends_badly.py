"""Ways to end badly, each as a process: the code is what it says, one line says why, and nothing is half-written."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from del_audit.process.exit_codes import DONE, REFUSED, TERMINATED, UNEXPECTED, USER_ERROR

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "certificates"
TRUST = ("--trust", FIXTURES / "certificate-6.pub", "--at", "2026-12-01", "--no-recompute")
ACCOUNT = ("account", "--bits", "4", "--dim", "18", "--clip", "0.05", "--mu", "8")
PATCH = "import del_audit.commands.account as c\n"
LONG = PATCH + "c._account = lambda a: print(('x' * 79 + chr(10)) * 4000, end='') or {code}\n"
"""A command that prints 320 kB, more than a pipe holds, and ends with a code."""

CLIENT = """import json, sys
for line in sys.stdin:
    values = json.loads(line)["values"]
    print(json.dumps({"counts": [[1 for value in row] for row in values]}), flush=True)
"""


def failing(what):
    """Returns code that makes `account` fail."""
    return f"{PATCH}def fail(arguments):\n    {what}\nc._account = fail\n"


@pytest.fixture(params=["valid", "tampered"])
def certificate(request, tmp_path):
    """Returns a certificate's file and the code that `verify` has for it."""
    if request.param == "valid":
        return FIXTURES / "certificate-6.json", DONE
    text = (FIXTURES / "certificate-6.json").read_text(encoding="utf8")
    path = tmp_path / "tampered.json"
    path.write_text(text.replace('"certified"', '"refused"', 1), encoding="utf8")
    assert path.read_text(encoding="utf8") != text
    return path, REFUSED


def reader_gone(start, *arguments, lines=0, streams=("stdout",), **options):
    """Returns the process of a command whose reader ends after some lines; nobody reads at all at 0."""
    read, write = os.pipe()
    if not lines:
        os.close(read)
    process = start(*arguments, **dict.fromkeys(streams, write), **options)
    os.close(write)
    if lines:
        with os.fdopen(read) as reader:
            for _ in range(lines):
                reader.readline()
    return process


class TestOutputThatNobodyGets:
    @pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
    def test_a_verdict_stands_whatever_is_closed(self, ended, certificate, redirect):
        path, code = certificate
        found = ended("verify", path, *TRUST, redirect=redirect).cleanly(code)
        assert found.err == ""

    def test_a_verdict_stands_where_its_reader_has_gone(self, start, certificate, wait_for):
        path, code = certificate
        assert wait_for(reader_gone(start, "verify", path, *TRUST)).cleanly(code).err == ""

    @pytest.mark.parametrize("code", [0, 1, 3])
    def test_the_reader_of_a_line_changes_no_verdict(self, start, wait_for, code):
        process = reader_gone(start, *ACCOUNT, lines=1, plant=LONG.format(code=code))
        assert wait_for(process).cleanly(code).err == ""

    def test_both_readers_may_go(self, start, wait_for):
        process = reader_gone(start, *ACCOUNT, streams=("stdout", "stderr"), plant=LONG.format(code=3))
        wait_for(process).cleanly(3)

    def test_a_full_disk_keeps_a_refusal_and_turns_success_into_an_error(self, ended, certificate):
        path, code = certificate
        found = ended("verify", path, *TRUST, redirect=">/dev/full").cleanly(code or USER_ERROR)
        if code == DONE:
            assert found.err.count("\n") == 1
            assert "standard output could not be written (No space left on device)" in found.err
        else:
            assert found.err == ""

    @pytest.mark.parametrize("redirect", [">/dev/full", ">/dev/full 2>&1", ">/dev/full 2>&-"])
    def test_output_that_is_lost_is_no_success(self, ended, redirect):
        ended(*ACCOUNT, redirect=redirect).cleanly(USER_ERROR)
        ended(*ACCOUNT, redirect=redirect, plant=LONG.format(code=3)).cleanly(3)

    def test_no_file_of_a_command_becomes_standard_output(self, ended, tmp_path):
        plant = failing("f = open('data', 'wb'); print('oops'); import os; os.write(2, b'oops'); return f.fileno() < 3")
        ended(*ACCOUNT, redirect="<&- >&- 2>&-", plant=plant).cleanly(DONE)
        assert (tmp_path / "data").read_bytes() == b""

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(self, start, stream):
        read, write = os.pipe()
        os.set_blocking(write, False)
        plant = LONG.format(code=3)
        if stream == "stderr":
            plant = plant.replace("end=''", "end='', file=__import__('sys').stderr")
        process = start(*ACCOUNT, plant=plant, **{stream: write})
        os.close(write)
        got = 0
        while data := os.read(read, 20_000):
            got += len(data)
            time.sleep(0.002)
        os.close(read)
        process.communicate(timeout=60)
        assert (process.returncode, got) == (3, 320_000)

    def test_help_and_version_without_a_reader(self, start, ended, wait_for):
        wait_for(reader_gone(start, "certify", "--help")).cleanly(DONE)
        ended("--version", redirect=">&-").cleanly(DONE)
        ended("--version", redirect=">/dev/full").cleanly(USER_ERROR)

    def test_a_usage_error_is_one_line(self, ended):
        assert ended("account").cleanly(USER_ERROR).err.count("\n") == 1
        ended("account", redirect="2>&-").cleanly(USER_ERROR)
        ended("account", redirect="2>/dev/full").cleanly(USER_ERROR)


class TestErrorsThatNobodyExpected:
    @pytest.mark.parametrize(
        ("what", "kind"),
        [
            ("return arguments.nothing", "AttributeError"),
            ("raise MemoryError", "MemoryError"),
            ("fail(arguments)", "RecursionError"),
            ("raise OSError(28, 'No space left on device')", "OSError: No space left on device"),
            ("raise BrokenPipeError(32, 'Broken pipe')", "BrokenPipeError: Broken pipe"),
            ("raise SystemExit(0)", "RuntimeError"),
            ("raise SystemExit(1)", "RuntimeError"),
            ("raise GeneratorExit", "GeneratorExit"),
            ("assert False", "AssertionError"),
        ],
    )
    def test_a_fault_of_the_program_is_no_verdict(self, ended, tmp_path, what, kind):
        found = ended(*ACCOUNT, plant=failing(what)).cleanly(UNEXPECTED)
        assert found.err.count("\n") == 1
        assert f"internal error ({kind})" in found.err
        assert "says nothing about the configuration" in found.err
        (log,) = (tmp_path / "state" / "errors").iterdir()
        assert str(log) in found.err
        assert log.stat().st_mode & 0o777 == 0o600
        text = log.read_text()
        assert "Traceback" in text
        assert kind.partition(":")[0] in text
        assert "'--mu', '8'" in text
        assert "torch " in text

    def test_the_log_is_kept_elsewhere_where_there_is_no_state_folder(self, ended, tmp_path):
        (tmp_path / "file").write_text("")
        elsewhere = {"DEL_AUDIT_STATE": str(tmp_path / "file" / "state"), "TMPDIR": str(tmp_path)}
        found = ended(*ACCOUNT, plant=failing("raise AttributeError"), env=elsewhere).cleanly(UNEXPECTED)
        (log,) = tmp_path.glob("del-audit-error-*.txt")
        assert str(log) in found.err
        assert log.stat().st_mode & 0o777 == 0o600

    def test_the_line_alone_must_do_where_nothing_can_be_written(self, ended):
        plant = "import tempfile\ntempfile.tempdir = '/proc/nowhere'\n" + failing("raise AttributeError")
        found = ended(*ACCOUNT, plant=plant, env={"DEL_AUDIT_STATE": "/proc/nowhere"}).cleanly(UNEXPECTED)
        assert "No log file could be written" in found.err

    def test_an_error_while_importing(self, ended):
        plant = "import sys\nsys.modules['del_audit.commands.tune'] = None\n"
        assert "ModuleNotFoundError" in ended(*ACCOUNT, plant=plant).cleanly(UNEXPECTED).err

    def test_errors_at_the_end_leave_the_verdict(self, ended, certificate):
        path, code = certificate
        plant = "import atexit\natexit.register(lambda: 1 / 0)\n"
        found = ended("verify", path, *TRUST, plant=plant).cleanly(code)
        assert "warning: ZeroDivisionError" in found.line

    def test_errors_that_python_ignores_are_one_line(self, ended):
        plant = failing("type('Bad', (), {'__del__': lambda self: 1 / 0})(); return 3")
        assert "warning: ZeroDivisionError" in ended(*ACCOUNT, plant=plant).cleanly(3).line

    def test_errors_of_threads_are_one_line(self, ended):
        plant = failing("from threading import Thread as T; t = T(target=lambda: 1 / 0); t.start(); t.join(); return 3")
        assert "warning: ZeroDivisionError" in ended(*ACCOUNT, plant=plant).cleanly(3).line

    def test_a_fault_of_the_connection_is_no_finding_against_a_client(self, ended, tmp_path):
        (tmp_path / "client.py").write_text(CLIENT)
        plant = (
            "import del_audit.verify_mechanism.json_client as j\n"
            "real, calls = j.request, []\n"
            "def request(values):\n    calls.append(1)\n    return real(values) if len(calls) < 5 else None.none\n"
            "j.request = request\n"
        )
        spec = ("--bits", "4", "--dim", "2", "--clip", "0.05", "--mu", "8", "--trials", "2000")
        command = f"{sys.executable} {tmp_path / 'client.py'}"
        found = ended("verify-mechanism", *spec, "--command", command, plant=plant).cleanly(UNEXPECTED)
        assert "AttributeError" in found.err
        assert found.out == ""


class TestPlacesWithoutWhatIsUsual:
    @pytest.mark.parametrize(
        ("arguments", "variable"),
        [
            (("key", "revoked"), "DEL_AUDIT_CONFIG"),
            (("private",), "DEL_AUDIT_STATE"),
            (("verify", FIXTURES / "certificate-6.json"), "DEL_AUDIT_CONFIG"),
        ],
    )
    def test_no_home_names_the_variable_to_set(self, ended, arguments, variable):
        plant = (
            "import os, pwd\ndef nobody(*_):\n    raise KeyError('nobody')\npwd.getpwuid = nobody\n"
            "for name in ('HOME', 'DEL_AUDIT_CONFIG', 'DEL_AUDIT_STATE', 'XDG_CONFIG_HOME', 'XDG_STATE_HOME'):\n"
            "    os.environ.pop(name, None)\n"
        )
        found = ended(*arguments, plant=plant).cleanly(USER_ERROR)
        assert f"name a folder in the variable {variable}" in found.err

    @pytest.mark.parametrize("variable", ["DEL_AUDIT_STATE", "DEL_AUDIT_CONFIG"])
    @pytest.mark.parametrize("place", ["/proc/del-audit", "file/below"])
    def test_a_place_for_keys_and_records_that_cannot_be_made(self, ended, tmp_path, variable, place):
        (tmp_path / "file").write_text("")
        found = ended("key", "show", env={variable: str(tmp_path / place)}).cleanly(USER_ERROR)
        assert found.err.count("\n") == 1
        assert not [*tmp_path.rglob(".*")]

    @pytest.mark.parametrize("place", ["/proc/out.svg", "file/out.svg"])
    def test_an_out_that_cannot_be_written(self, ended, tmp_path, place):
        (tmp_path / "file").write_text("")
        ended("curve", "--spec", "bits=4,dim=18,clip=1,mu=2", "--out", tmp_path / place).cleanly(USER_ERROR)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "state"]

    def test_a_working_folder_that_was_removed(self, ended, tmp_path):
        gone = f"import os\nf = {str(tmp_path / 'gone')!r}\nos.mkdir(f)\nos.chdir(f)\nos.rmdir(f)\n"
        ended("verify", FIXTURES / "certificate-6.json", *TRUST, plant=gone).cleanly(DONE)
        found = ended(*ACCOUNT, plant=gone + failing("import os; os.getcwd()")).cleanly(USER_ERROR)
        assert "folder that exists" in found.err

    @pytest.mark.parametrize(
        "places",
        [
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
            {"PYTHONIOENCODING": "latin-1"},
            {"PYTHONIOENCODING": "ascii:strict", "COLUMNS": "40"},
            {"COLUMNS": "nonsense"},
            {"TERM": "", "COLUMNS": "0"},
            {"PYTHONWARNINGS": "error"},
        ],
    )
    def test_a_verdict_is_the_same_everywhere(self, ended, certificate, places):
        path, code = certificate
        if code == DONE:
            assert ended(*ACCOUNT, env=places).cleanly(DONE).out
            assert ended("verify", path, *TRUST, env=places).cleanly(code).out
        else:
            assert json.loads(ended("verify", path, *TRUST, "--json", env=places).cleanly(code).out)


def test_python_m_is_the_same_command(home, tmp_path):
    command = [sys.executable, "-m", "del_audit", "account"]
    found = subprocess.run(command, env=home, cwd=tmp_path, capture_output=True, text=True)
    assert (found.returncode, found.stderr.count("\n")) == (USER_ERROR, 1)


def test_termination_is_one_line(start, wait_for):
    process = start(*ACCOUNT, plant=failing("print('in', flush=True); import time; time.sleep(60)"))
    assert process.stdout.readline() == b"in\n"
    process.terminate()
    assert wait_for(process).cleanly(TERMINATED).err == "del-audit: terminated\n"


@pytest.mark.slow
class TestCertify:
    """A whole run of the tiny model, whose output goes wrong."""

    def test_the_certificate_is_written_and_its_json_is_json(self, ended, tiny_config, tmp_path):
        narrow = {"PYTHONIOENCODING": "latin-1", "COLUMNS": "40", "LC_ALL": "C"}
        found = ended("certify", tiny_config, "--out", tmp_path / "out", "--json", env=narrow).cleanly(DONE)
        assert json.loads(found.out) == json.loads((tmp_path / "out" / "certificate.json").read_text(encoding="utf8"))
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["certificate.json", "report.html"]

    @pytest.mark.parametrize(
        ("redirect", "code"), [(">&- 2>&-", DONE), (">/dev/full 2>/dev/full", USER_ERROR), ("| true", DONE)]
    )
    def test_the_run_goes_to_its_end_without_a_reader(self, start, tiny_config, tmp_path, wait_for, redirect, code):
        arguments = ("certify", tiny_config, "--out", tmp_path / "out")
        if redirect == "| true":
            process = reader_gone(start, *arguments, streams=("stdout", "stderr"))
        else:
            process = start(*arguments, redirect=redirect)
        wait_for(process).cleanly(code)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["certificate.json", "report.html"]

    def test_warnings_as_errors_are_no_verdict_of_their_own(self, ended, tiny_config, tmp_path):
        arguments = ("certify", tiny_config, "--out", tmp_path / "out")
        ended(*arguments, env={"PYTHONWARNINGS": "error"}).cleanly(DONE, USER_ERROR, UNEXPECTED)
