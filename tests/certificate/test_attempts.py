"""The log of attempts: what it counts, what it cannot know, and what it refuses before the work."""

import multiprocessing
import sqlite3

import pytest

from del_audit.certificate.attempts import LOG, Attempt, begin, begin_key, finish
from mechanisms.errors import UserError

SPLIT, OTHER = "a" * 64, "b" * 64
KEY = "SHA256:0123456789"


@pytest.fixture
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    monkeypatch.setenv("DEL_AUDIT_STATE", str(folder))
    return folder


def test_attempts_are_counted_by_private_split_finished_or_not(state):
    begin_key(KEY)
    assert begin(SPLIT, KEY) == Attempt(1, None, 1)
    second = begin(SPLIT, KEY)  # the first was interrupted: it has counted
    assert (second.count, second.previous) == (2, None)
    finish(second, "c" * 64)
    assert (begin(OTHER, KEY).count, begin(OTHER, KEY).previous) == (1, None)
    third = begin(SPLIT, KEY)
    assert (third.count, third.previous) == (3, "c" * 64)
    assert (state / LOG).stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_the_previous_certificate_is_the_last_finished_not_the_last_begun(state):
    begin_key(KEY)
    first, second = begin(SPLIT, KEY), begin(SPLIT, KEY)
    finish(second, "2" * 64)
    finish(first, "1" * 64)
    assert begin(SPLIT, KEY).previous == "1" * 64


def test_a_second_key_does_not_start_the_count_again(state):
    begin_key(KEY)
    begin(SPLIT, KEY)
    begin_key("SHA256:second")
    assert begin(SPLIT, "SHA256:second").count == 2


def test_a_deleted_log_stays_unknown_for_the_keys_that_it_did_not_see_made(state):
    begin_key(KEY)
    begin(SPLIT, KEY)
    (state / LOG).unlink()
    assert begin(SPLIT, KEY).count is None
    assert begin(SPLIT, KEY).count is None
    begin_key("SHA256:new")
    assert begin(SPLIT, "SHA256:new").count == 3
    assert begin(SPLIT, KEY).count is None
    finish(begin(SPLIT, KEY), "d" * 64)
    assert begin(SPLIT, KEY) == Attempt(None, "d" * 64, 6)


def test_an_emptied_log_is_a_deleted_one(state):
    begin_key(KEY)
    (state / LOG).write_bytes(b"")
    assert begin(SPLIT, KEY).count is None


def _begin_one(folder):
    import os

    os.environ["DEL_AUDIT_STATE"] = folder
    return [begin(SPLIT, KEY).count for _ in range(5)]


def test_processes_at_once_count_separately(state):
    begin_key(KEY)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        counts = [count for found in pool.map(_begin_one, [str(state)] * 3) for count in found]
    assert sorted(counts) == list(range(1, 16))


def test_a_log_that_others_may_read_is_refused(state):
    begin_key(KEY)
    (state / LOG).chmod(0o640)
    for work in (lambda: begin(SPLIT, KEY), lambda: begin_key(KEY)):
        with pytest.raises(UserError, match=r"mode 600\), got 640: .*chmod 600"):
            work()


def test_a_damaged_log_is_refused_and_left_as_it_is(state):
    begin_key(KEY)
    for number in range(60):
        begin(f"{number:064x}", KEY)
    whole = (state / LOG).read_bytes()
    for data in (b"not a database " * 100, whole[: len(whole) // 2], whole[:4096] + b"\xff" * 4096 + whole[8192:]):
        (state / LOG).write_bytes(data)
        with pytest.raises(UserError, match="damaged file"):
            begin(SPLIT, KEY)
        assert (state / LOG).read_bytes() == data


def test_another_program_s_database_is_refused(state):
    state.mkdir(mode=0o700)
    with sqlite3.connect(state / LOG) as other:
        other.execute("CREATE TABLE keys (name TEXT)")
    (state / LOG).chmod(0o600)
    with pytest.raises(UserError, match="it holds other tables"):
        begin(SPLIT, KEY)


def test_a_link_or_a_folder_is_refused(state, tmp_path):
    state.mkdir(mode=0o700)
    (tmp_path / "elsewhere").touch(mode=0o600)
    (state / LOG).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a file that you can read and write"):
        begin(SPLIT, KEY)
    (state / LOG).unlink()
    (state / LOG).mkdir()
    with pytest.raises(UserError, match="a file that you can read and write"):
        begin(SPLIT, KEY)


def test_a_locked_log_is_waited_for_and_then_refused(state, monkeypatch):
    monkeypatch.setattr("mechanisms.state_database.WAIT", 0.05)
    begin_key(KEY)
    with sqlite3.connect(state / LOG, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="got another process at work"):
            begin(SPLIT, KEY)
        other.execute("ROLLBACK")
    assert begin(SPLIT, KEY).count == 1


def test_an_attempt_is_finished_once_and_in_the_log_that_it_began_in(state):
    begin_key(KEY)
    attempt = begin(SPLIT, KEY)
    finish(attempt, "c" * 64)
    with pytest.raises(UserError, match="attempt 1 to be unfinished"):
        finish(attempt, "d" * 64)
    (state / LOG).unlink()
    with pytest.raises(UserError, match="attempt 1 to be unfinished"):
        finish(attempt, "d" * 64)


def test_what_is_no_hash_is_refused(state):
    for given in ("", "a" * 63, "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(UserError, match="64 hexadecimal digits"):
            begin(given, KEY)
    for given in ("", "k" * 201):
        for work in (begin_key, lambda key: begin(SPLIT, key)):
            with pytest.raises(UserError, match="fingerprint"):
                work(given)
    assert not (state / LOG).exists()
    for given in ("k", "k" * 200):
        begin_key(given)
        assert begin(SPLIT, given).count is not None
