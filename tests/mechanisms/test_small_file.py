import contextlib
import os
import time

import pytest

from mechanisms.errors import UserError
from mechanisms.small_file import read_small


def test_a_file_within_the_limit_is_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_small(tmp_path / "file", 5, "card") == b"12345"
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_small(tmp_path / "link", 5, "card") == b"12345"
    with pytest.raises(UserError, match="card of at most 4 bytes, got 5"):
        read_small(tmp_path / "file", 4, "card")


def test_a_huge_file_costs_nothing(tmp_path):
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(1 << 40)
    started = time.monotonic()
    with pytest.raises(UserError, match="at most 10 bytes"):
        read_small(tmp_path / "huge", 10, "card")
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing", "loop", "nul", "unreadable"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "nul":
        path = tmp_path / "a\0b"
    elif kind == "unreadable":
        path.write_bytes(b"1")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads every file")
    started = time.monotonic()
    with pytest.raises(UserError, match="Expected a readable card file"):
        read_small(path, 10, "card")
    assert time.monotonic() - started < 0.5


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux's /proc")
def test_no_file_stays_open(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path, tmp_path / "file", tmp_path / "none"):
        for limit in (0, 5):
            with contextlib.suppress(UserError):
                read_small(path, limit, "card")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_a_file_that_grows_while_it_is_read_is_still_within_the_limit():
    with pytest.raises(UserError, match="at most 10 bytes, got more"):
        read_small("/proc/self/stat", 10, "card")  # its size is said to be 0
