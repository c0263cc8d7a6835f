"""A kill or a full disk at any point leaves the old certificate or the new one, never half."""

import os
import signal
import subprocess
import sys
import time

import pytest

from del_audit.certificate import files
from del_audit.certificate.files import write_together
from mechanisms import encoder_file
from mechanisms.encoder_file import write_whole
from mechanisms.errors import UserError


@pytest.fixture
def pair(tmp_path):
    paths = [tmp_path / "report.html", tmp_path / "certificate.json"]
    for path in paths:
        path.write_bytes(b"old")
    return paths


def test_both_are_written_and_nothing_lies_beside(pair, tmp_path):
    write_together(dict.fromkeys(pair, b"new"))
    assert [path.read_bytes() for path in pair] == [b"new", b"new"]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("nth", [0, 1])
def test_a_disk_that_fails_leaves_each_old_or_new(pair, tmp_path, monkeypatch, call, nth):
    real, calls = getattr(os, call), []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == nth + 1:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(UserError, match="No space left"):
        write_together(dict.fromkeys(pair, b"new"))
    expected = [b"new", b"old"] if (call, nth) == ("replace", 1) else [b"old", b"old"]
    assert [path.read_bytes() for path in pair] == expected
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_met_before_anything_is_replaced(pair, tmp_path):
    """A limit on the size of files stands for the disk: the write itself fails."""
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from del_audit.certificate.files import write_together\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "try:\n"
        "    write_together({folder / 'report.html': b'new', folder / 'certificate.json': b'n' * 5000})\n"
        "except ValueError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [path.read_bytes() for path in pair] == [b"old", b"old"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kill_at_any_point_leaves_a_whole_file(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from del_audit.certificate.files import write_together\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "print('up', flush=True)\n"
        "for count in range(10**9):\n"
        "    data = bytes([65 + count % 26]) * 300_000\n"
        "    write_together({folder / 'report.html': data, folder / 'certificate.json': data})\n"
    )
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.02 + 0.007 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for name in ("report.html", "certificate.json"):
            if (tmp_path / name).exists():
                data = (tmp_path / name).read_bytes()
                assert len(data) == 300_000
                assert len(set(data)) == 1
    assert (tmp_path / "certificate.json").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_single_file_is_old_or_new_as_well(tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "message").write_bytes(b"old")
    monkeypatch.setattr(encoder_file.os, call, fail)
    with pytest.raises(UserError, match="No space left"):
        write_whole(tmp_path / "message", b"new")
    assert (tmp_path / "message").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
