"""Files made to harm, given to the command line: a clear error, exit code 2, within seconds and little memory."""

import gc
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from del_audit.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"
CONFIGURATION = {
    "name": "a",
    "model": "package:smollm2-135m-instruct",
    "mechanism": {"bits": 4, "dim": 8, "clip": 0.05, "mu": 5.0},
    "data": {"corpus": "c.csv"},
    "policy": {"attack_success_at_most": 0.2},
}
BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


def hostile_files(folder: Path) -> dict[str, Path]:
    """Returns files by what is wrong with them; none is a certificate, a configuration, a session or a key."""
    contents = {
        "empty": b"",
        "nul bytes": b"\x00" * 4_096,
        "not UTF-8": b'{"a":"\xff\xfe"}',
        "UTF-16": '{"a":1}'.encode("utf-16"),
        "byte order mark": b'\xef\xbb\xbf{"a":1}',
        "deep JSON": b"[" * 100_000 + b"]" * 100_000,
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "deep YAML": b"a: " + b"[" * 100_000,
        "deep blocks": b"- " * 100_000,
        "deep keys": b"? " * 100_000,
        "YAML bomb": BOMB.encode(),
        "huge whole number": b'{"a":' + b"9" * 1_000_000 + b"}",
        "huge exponent": b'{"a":1e1000000}',
        "huge fraction": b'{"a":0.' + b"1" * 1_000_000 + b"}",
        "huge hexadecimal": b"a: 0x" + b"f" * 1_000_000,
        "huge base sixty": b"a: " + b"1:" * 500_000 + b"1",
        "keys twice": b'{"a":1,"a":2}',
        "many keys": b"{" + b",".join(b'"k%d": 1' % i for i in range(70_000)) + b"}",
        "many lists": b"[" + b"[]," * 300_000 + b"[]]",
        "lone surrogate": b'{"a":"\\ud800"}',
        "lone surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
        "python tag": b"a: !!python/object/apply:os.system [id]",
        "wrong timestamp": b"a: !!timestamp x",
        "control characters": b'{"\x1b[2J":1}',
        "line separators": b"a:\xe2\x80\xa8" * 100_000,
        "not a number": b'{"a":NaN}',
    }
    paths = {}
    for number, (what, data) in enumerate(contents.items()):
        paths[what] = folder / f"{number}.txt"
        paths[what].write_bytes(data)
    paths["1 GB"] = folder / "sparse"
    with paths["1 GB"].open("wb") as stream:
        stream.truncate(1 << 30)
    paths["folder"] = folder
    paths["missing"] = folder / "none"
    paths["device"] = Path("/dev/zero")
    paths["pipe"] = folder / "pipe"
    os.mkfifo(paths["pipe"])
    paths["loop"] = folder / "loop"
    paths["loop"].symlink_to(paths["loop"])
    paths["link to a device"] = folder / "link"
    paths["link to a device"].symlink_to("/dev/zero")
    return paths


COMMANDS = {
    "certificate": ["verify", "{}"],
    "public key": ["verify", str(FIXTURES / "certificate-5.json"), "--at", "2026-12-31", "--trust", "{}"],
    "export": ["export", "{}", "--junit", "out.xml"],
    "configuration": ["certify", "{}", "--out", "out"],
    "bundle": ["bundle", "{}", "--out", "out"],
    "session": ["account", "--session", "{}"],
    "private key": ["key", "show", "{}"],
    "client": ["send", "{}", "--text", "a", "--out", "out"],
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return hostile_files(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def only_its_own_time():
    """Keeps what earlier tests left in this process out of the collections of garbage that a file brings about."""
    gc.collect()
    gc.freeze()


SAME_READER = {"bundle": "configuration", "session": "configuration", "export": "certificate"}
"""Commands whose files go through another's reader: run with the slow tests."""


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] if k in SAME_READER else []) for k in COMMANDS]
)
def test_a_hostile_file_is_refused_in_one_line(kind, hostile, only_its_own_time, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main([part.format(hostile["missing"]) for part in COMMANDS[kind]])  # imports what the command needs
    capsys.readouterr()
    for what, path in hostile.items():
        started = time.process_time()
        code = main([part.format(path) for part in COMMANDS[kind]])
        spent = time.process_time() - started
        printed = capsys.readouterr()
        assert code == 2, (what, printed)
        assert printed.err.startswith("del-audit: error: "), what
        assert len(printed.err) < 4_000, what
        assert "\x1b" not in printed.err, what
        assert spent < 2, (what, spent)
        assert not list(tmp_path.iterdir()), what


MEMORY = 400 << 20
"""Bytes of address space: 1 GB does not fit."""


@pytest.mark.parametrize("kind", ["certificate", "configuration"])
@pytest.mark.parametrize("what", ["1 GB", "device", "pipe", "deep JSON", "many lists", "YAML bomb"])
def test_time_and_memory_of_a_whole_process_are_bounded(kind, what, hostile, tmp_path):
    def limits():
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "del_audit", *(part.format(hostile[what]) for part in COMMANDS[kind])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=30, preexec_fn=limits)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("del-audit: error: ")
    assert "MemoryError" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "package:../../etc/passwd"}, "package:../../etc/passwd"),
        ({"model": "package:/etc"}, "package:/etc"),
        ({"model": "shipped:../x"}, "shipped:../x"),
        ({"model": "hub:../../x"}, "hub:../../x"),
        ({"model": "hub:a/../.."}, "hub:a/../.."),
        ({"model": "/etc/passwd"}, "/etc/passwd"),
        ({"model": "/dev/zero"}, "/dev/zero"),
        ({"model": "a\0b"}, "null"),
        ({"name": "../up"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "."}, "name"),
        ({"data": {"corpus": "package:../x"}}, "package:../x"),
        ({"data": {"corpus": "/dev/zero"}}, "/dev/zero"),
        ({"data": {"corpus": "/etc/passwd"}}, "/etc/passwd"),
        ({"data": {"corpus": "{pipe}.csv"}}, ".csv"),
        ({"data": {"corpus": "{folder}"}}, "corpus"),
        ({"soft_prompt": "shipped:../../x"}, "shipped:../../x"),
        ({"soft_prompt": "/dev"}, "/dev"),
        ({"encoder": {"codes": "/dev/zero"}}, "/dev/zero"),
        ({"encoder": {"codes": "{pipe}.csv"}}, ".csv"),
        ({"encoder": {"projection": "../../x"}}, "../../x"),
        ({"sentence_encoder": "package:../x"}, "package:../x"),
    ],
    ids=str,
)
def test_names_of_assets_lead_nowhere(changes, said, tiny_lm_folder, tiny_bert_folder, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "texts.csv").write_text("text,split\n" + "a b c,train\na b c,test\n" * 10)
    base = {**CONFIGURATION, "model": str(tiny_lm_folder), "sentence_encoder": str(tiny_bert_folder)}
    content = {**base, "data": {"corpus": str(tmp_path / "texts.csv")}, **changes}
    text = yaml.safe_dump(content).replace("{pipe}", str(tmp_path / "pipe")).replace("{folder}", str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    started = time.monotonic()
    assert main(["certify", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert time.monotonic() - started < 20
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("del-audit: error: ")
    assert said in error
    assert not list((tmp_path / "out").glob("*"))
