"""The one writer: whatever fails, and whenever, each file and folder is old or new, never half, and no part stays."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from mechanisms import files
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, is_part, new_folder, remove_parts, reserved, write_file, write_files, write_json


def full(*_, **__):
    raise OSError(28, "No space left on device")


def interrupted(*_, **__):
    raise KeyboardInterrupt


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def as_bytes(data):
    return data


def as_stream(data):
    return lambda path: path.write_bytes(data)


def folder_of(path, data):
    with new_folder(path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "data").write_bytes(data)


@pytest.fixture
def pair(tmp_path):
    paths = [tmp_path / "report.html", tmp_path / "certificate.json"]
    for path in paths:
        path.write_bytes(b"old")
    return paths


@pytest.fixture(params=[as_bytes, as_stream])
def content(request):
    return request.param


@pytest.fixture(params=[{}, {"new": True}, {"mode": PRIVATE}, {"mode": PRIVATE, "new": True}], ids=str)
def options(request):
    return request.param


class TestOneFile:
    def test_it_is_what_was_given_and_nothing_lies_beside(self, tmp_path, content, options):
        before = os.umask(0o077)
        try:
            write_file(tmp_path / "file", content(b"new"), **options)
        finally:
            os.umask(before)
        assert (tmp_path / "file").read_bytes() == b"new"
        assert mode(tmp_path / "file") == options.get("mode", 0o644)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("failure", [full, interrupted])
    @pytest.mark.parametrize("call", ["open", "fsync", "fchmod", "replace", "link"])
    def test_a_failure_anywhere_leaves_it_as_it_was(self, tmp_path, monkeypatch, content, options, call, failure):
        if call == ("replace" if options.get("new") else "link"):
            pytest.skip("not called")
        if not options.get("new"):
            (tmp_path / "file").write_bytes(b"old")
        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, failure)
            with pytest.raises(UserError if failure is full else KeyboardInterrupt) as found:
                write_file(tmp_path / "file", content(b"new"), hint="Free space.", **options)
        if failure is full and call != "open":
            assert str(found.value) == (
                f"Expected a file that can be written, got {str(tmp_path / 'file')!r}: No space left on device. "
                "Free space."
            )
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == (
            [] if options.get("new") else [("file", b"old")]
        )

    @pytest.mark.parametrize("failure", [full, interrupted, lambda _: 1 / 0])
    def test_a_writer_that_fails_leaves_it_as_it_was(self, tmp_path, options, failure):
        with pytest.raises((UserError, KeyboardInterrupt, ZeroDivisionError)):
            write_file(tmp_path / "file", failure, **options)
        assert not list(tmp_path.iterdir())

    def test_nobody_else_reads_a_part(self, tmp_path):
        seen = []
        write_file(tmp_path / "file", lambda path: (seen.append(mode(path)), path.write_bytes(b"x")))
        assert seen == [0o600]

    @pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
    @pytest.mark.parametrize("links", [True, False])
    def test_a_new_one_is_never_written_over_another(self, tmp_path, monkeypatch, there, links):
        path = tmp_path / "file"
        if there == "file":
            path.write_bytes(b"mine")
        elif there == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "nowhere")
        if not links:
            monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "Not supported")))
        with pytest.raises(UserError, match=r"Expected a key that does not exist yet, got .*file"):
            write_file(path, b"new", new=True, what="a key")
        assert os.listdir(tmp_path) == ["file"]
        assert there != "file" or path.read_bytes() == b"mine"
        assert there != "dangling link" or path.is_symlink()

    def test_a_file_system_without_hard_links_gets_a_new_one_whole(self, tmp_path, monkeypatch, content):
        monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "Not supported")))
        write_file(tmp_path / "file", content(b"new"), mode=PRIVATE, new=True)
        assert (tmp_path / "file").read_bytes() == b"new"
        assert mode(tmp_path / "file") == 0o600
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", full)
            with pytest.raises(UserError, match="No space left"):
                write_file(tmp_path / "next", b"new", new=True)
        assert os.listdir(tmp_path) == ["file"]

    def test_a_link_is_replaced_and_what_it_points_at_stays(self, tmp_path):
        (tmp_path / "target").write_bytes(b"old")
        (tmp_path / "file").symlink_to(tmp_path / "target")
        write_file(tmp_path / "file", b"new")
        assert (tmp_path / "target").read_bytes() == b"old"
        assert not (tmp_path / "file").is_symlink()

    @pytest.mark.parametrize("name", ["x" * 255, "東" * 85, "a[b]*?'\n-", "-"])
    def test_any_name_will_do(self, tmp_path, name):
        write_file(tmp_path / name, b"new")
        write_file(tmp_path / name, b"newer")
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"newer")]

    @pytest.mark.parametrize("place", ["none/file", "blocked/file", "folder"])
    def test_a_place_that_takes_no_file_is_one_line(self, tmp_path, place):
        (tmp_path / "blocked").write_text("")
        (tmp_path / "folder").mkdir()
        with pytest.raises(UserError, match=r"\AExpected a report that can be written, got [^\n]*\Z"):
            write_file(tmp_path / place, b"new", what="a report")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "folder"]

    def test_json_is_json(self, tmp_path):
        write_json(tmp_path / "file", {"a": [1.5]})
        assert (tmp_path / "file").read_text() == '{\n  "a": [\n    1.5\n  ]\n}\n'
        with pytest.raises(ValueError, match="Out of range"):
            write_json(tmp_path / "file", float("nan"))
        assert os.listdir(tmp_path) == ["file"]


class TestReserved:
    def test_a_folder_that_takes_none_is_said_before_anything_is_done(self, tmp_path):
        with pytest.raises(UserError, match="can be written"), reserved(tmp_path / "none" / "file"):
            pytest.fail("the block began")

    def test_what_is_not_placed_leaves_nothing(self, tmp_path):
        with reserved(tmp_path / "file"):
            assert [is_part(path.name) for path in tmp_path.iterdir()] == [True]
        assert not list(tmp_path.iterdir())


class TestSeveralFiles:
    def test_all_are_written_and_nothing_lies_beside(self, pair, tmp_path):
        write_files(dict.fromkeys(pair, b"new"))
        assert [path.read_bytes() for path in pair] == [b"new", b"new"]
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("failure", [full, interrupted])
    @pytest.mark.parametrize("call", ["fsync", "replace"])
    @pytest.mark.parametrize("nth", [0, 1])
    def test_a_disk_that_fails_leaves_each_old_or_new(self, pair, tmp_path, monkeypatch, call, nth, failure):
        real, calls = getattr(os, call), []

        def fail(*arguments):
            calls.append(arguments)
            return failure() if len(calls) == nth + 1 else real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, fail)
            with pytest.raises((UserError, KeyboardInterrupt), match="No space left" if failure is full else None):
                write_files(dict.fromkeys(pair, b"new"))
        expected = [b"new", b"old"] if (call, nth) == ("replace", 1) else [b"old", b"old"]
        assert [path.read_bytes() for path in pair] == expected
        assert len(list(tmp_path.iterdir())) == 2

    def test_no_interruption_comes_between_the_renames(self, pair, monkeypatch):
        held, real = [], os.replace
        monkeypatch.setattr(files.os, "replace", lambda *names: (held.append(files.shield.up()), real(*names)))
        write_files(dict.fromkeys(pair, b"new"))
        assert held == [True, True]
        assert not files.shield.up()


class TestFolder:
    def test_it_appears_whole_with_its_modes(self, tmp_path):
        before = os.umask(0o077)
        try:
            folder_of(tmp_path / "folder", b"new")
        finally:
            os.umask(before)
        assert (tmp_path / "folder" / "inner" / "data").read_bytes() == b"new"
        assert [mode(path) for path in (tmp_path / "folder", *sorted((tmp_path / "folder").rglob("*")))] == [
            0o755,
            0o755,
            0o644,
        ]
        assert os.listdir(tmp_path) == ["folder"]

    def test_a_private_one_is_the_owners_alone(self, tmp_path):
        with new_folder(tmp_path / "folder", mode=PRIVATE) as part:
            assert mode(part) == 0o700
            (part / "data").write_bytes(b"x")
        assert [mode(tmp_path / "folder"), mode(tmp_path / "folder" / "data")] == [0o700, 0o600]

    @pytest.mark.parametrize("failure", [full, interrupted])
    @pytest.mark.parametrize("call", ["fsync", "fchmod", "replace", "the block"])
    def test_a_failure_anywhere_leaves_nothing(self, tmp_path, monkeypatch, call, failure):
        (tmp_path / "run").mkdir()
        with monkeypatch.context() as patch:
            if call != "the block":
                patch.setattr(files.os, call, failure)
            with pytest.raises(UserError if failure is full else KeyboardInterrupt):
                self.fill(tmp_path, failure if call == "the block" else lambda: None)
        assert [path.name for path in tmp_path.rglob("*")] == ["run"]

    def fill(self, place, last):
        with new_folder(place / "folder", inside=place / "run") as part:
            assert part.parent == place / "run"
            (part / "data").write_bytes(b"new")
            last()

    @pytest.mark.parametrize("there", ["empty folder", "file", "dangling link"])
    def test_what_exists_is_left_alone(self, tmp_path, there):
        path = tmp_path / "folder"
        if there == "file":
            path.write_bytes(b"mine")
        elif there == "empty folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(UserError, match="does not exist yet"):
            folder_of(path, b"new")
        assert os.listdir(tmp_path) == ["folder"]

    def test_a_place_that_takes_no_folder_is_said(self, tmp_path):
        with pytest.raises(UserError, match="a folder that can be written"):
            folder_of(tmp_path / "none" / "folder", b"new")
        assert not list(tmp_path.iterdir())


PROGRAM = """
import sys
from pathlib import Path
from mechanisms.files import new_folder, write_file, write_files
def together(path, data):
    write_files({{path: data, path.with_name("other"): data}})
def folder_of(path, data):
    with new_folder(path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "data").write_bytes(data)
folder = Path(sys.argv[1])
print("up", flush=True)
for count in range(10**9):
    {call}(folder / f"data{{count if {fresh} else ''}}", bytes([65 + count % 26]) * 300_000)
"""


@pytest.mark.parametrize(
    ("call", "fresh"), [("write_file", False), ("together", False), ("folder_of", True)], ids=lambda value: str(value)
)
def test_a_kill_at_any_point_leaves_what_is_whole(tmp_path, call, fresh):
    program = PROGRAM.format(call=call, fresh=fresh)
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.02 + 0.014 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole = [path for path in tmp_path.iterdir() if not is_part(path.name)]
        for path in whole:
            data = (path / "inner" / "data" if fresh else path).read_bytes()
            assert (len(data), len(set(data))) == (300_000, 1)
        if fresh:
            for path in whole:
                (path / "inner" / "data").unlink()
                (path / "inner").rmdir()
                path.rmdir()
    remove_parts(tmp_path)
    assert not [path for path in tmp_path.iterdir() if is_part(path.name)]
    assert fresh or (tmp_path / "data").exists()


def test_a_full_disk_is_met_before_anything_is_replaced(pair, tmp_path):
    """A limit on the size of files stands for the disk: the write itself fails."""
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from mechanisms.files import write_files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "try:\n"
        "    write_files({folder / 'report.html': b'new', folder / 'certificate.json': b'n' * 5000})\n"
        "except ValueError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [path.read_bytes() for path in pair] == [b"old", b"old"]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path):
    for name in (".del-audit-private", "data", ".data-1", ".hidden-0123456789abc"):
        (tmp_path / name).write_text("")
    (tmp_path / ".data-0123456789ab").write_text("")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".folder-0123456789ab").mkdir()
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        [".del-audit-private", "data", ".data-1", ".hidden-0123456789abc", "deep"]
    )
