import io
import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from del_audit.client.send import send
from mechanisms.client import Client, CodeReleaser
from mechanisms.client_bundle import load_client, save_client_bundle
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.ledger import Ledger
from mechanisms.mechanism import ModelName
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
PROMPT = "The pain was gone within a week."


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_lm_folder):
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("send") / "client"
    encoder = Encoder.of(np.random.default_rng(0).uniform(-0.05, 0.05, (384, 6)), 0.05)
    tokenizer = Tokenizer.from_file(str(tiny_lm_folder / "tokenizer.json"))
    save_client_bundle(folder, CodeReleaser(encoder, SPEC), ModelName("tiny", ""), tokenizer, 60)
    return folder


def test_a_prompt_becomes_a_message_file(bundle, tmp_path, capsys):
    assert send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED) == 0
    message = (tmp_path / "message").read_bytes()
    assert unpack(message, SPEC).shape[1] == 6
    assert f"{len(message)} bytes" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["message"]


def test_a_prompt_is_read_from_standard_input(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(PROMPT))
    assert send(bundle, None, tmp_path / "from-stdin", UNCERTIFIED) == 0
    assert send(bundle, PROMPT, tmp_path / "from-text", UNCERTIFIED) == 0
    lengths = {(tmp_path / name).stat().st_size for name in ("from-stdin", "from-text")}
    assert len(lengths) == 1


@pytest.mark.parametrize("text", ["", "word " * 200], ids=["empty", "too long"])
def test_a_prompt_that_cannot_be_released_writes_nothing(bundle, tmp_path, text):
    with pytest.raises(UserError):
        send(bundle, text, tmp_path / "message", UNCERTIFIED)
    assert not list(tmp_path.iterdir())


def test_input_that_is_no_text_writes_nothing(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf8"))
    with pytest.raises(UserError, match="text on standard input"):
        send(bundle, None, tmp_path / "message", UNCERTIFIED)
    assert not list(tmp_path.iterdir())


def _stdin(monkeypatch, data, encoding="latin-1"):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding=encoding))


def _sent(monkeypatch):
    seen = []
    release = Client.release
    monkeypatch.setattr(Client, "release", lambda self, text: seen.append(text) or release(self, text))
    return seen


@pytest.mark.parametrize("locale", ["latin-1", "ascii", "utf8"])
def test_standard_input_is_utf8_in_every_locale(bundle, tmp_path, monkeypatch, locale):
    seen = _sent(monkeypatch)
    _stdin(monkeypatch, "Schmerz\u00e4 \u4e2d\r\n".encode(), locale)
    send(bundle, None, tmp_path / "message", UNCERTIFIED)
    assert seen == ["Schmerz\u00e4 \u4e2d\n"]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_byte_order_mark_is_not_sent(bundle, tmp_path, monkeypatch, as_text):
    seen = _sent(monkeypatch)
    if as_text:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + PROMPT))
    else:
        _stdin(monkeypatch, b"\xef\xbb\xbf" + PROMPT.encode())
    send(bundle, None, tmp_path / "message", UNCERTIFIED)
    assert seen == [PROMPT]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"abc\xe4bc", "UTF-8 text on standard input, got the byte 0xe4 at offset 3"),
        (b"\xef\xbb\xbfabc\xff", "got the byte 0xff at offset 6"),
        (b"\xed\xa0\x80", "got the byte 0xed at offset 0"),
        ("hello".encode("utf-16"), "the byte order mark of UTF-16"),
        (b"\xfe\xff\x00h", "the byte order mark of UTF-16"),
        (b"", "empty prompt"),
        (b"\xef\xbb\xbf", "empty prompt"),
    ],
)
@pytest.mark.parametrize("locale", ["latin-1", "utf8"])
def test_input_that_is_no_utf8_is_refused_and_not_charged(bundle, tmp_path, monkeypatch, data, said, locale):
    before = Ledger.of_user().summary(timedelta(days=1))
    _stdin(monkeypatch, data, locale)
    with pytest.raises(UserError, match=said):
        send(bundle, None, tmp_path / "message", UNCERTIFIED)
    assert not list(tmp_path.iterdir())
    assert Ledger.of_user().summary(timedelta(days=1)) == before


@pytest.mark.parametrize("stream", [None, io.StringIO("a\ud800")])
def test_standard_input_that_is_closed_or_no_text_is_refused(bundle, tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(UserError):
        send(bundle, None, tmp_path / "message", UNCERTIFIED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\u00e4\udce4", "--text in UTF-8, got the byte 0xe4 at offset 2"),
        ("a\ud800", r"--text in UTF-8, got half a surrogate pair '\\ud800' at offset 1"),
    ],
)
def test_an_argument_that_is_no_utf8_is_refused_and_not_charged(bundle, tmp_path, text, said):
    before = Ledger.of_user().summary(timedelta(days=1))
    with pytest.raises(UserError, match=said):
        send(bundle, text, tmp_path / "message", UNCERTIFIED)
    assert not list(tmp_path.iterdir())
    assert Ledger.of_user().summary(timedelta(days=1)) == before


def test_an_argument_that_the_locale_could_not_read_is_read_as_utf8(bundle, tmp_path, monkeypatch):
    seen = _sent(monkeypatch)
    send(bundle, "a\udcc3\udca4", tmp_path / "message", UNCERTIFIED)
    assert seen == ["a\u00e4"]


def test_a_client_refuses_half_a_surrogate_pair_before_it_charges(bundle):
    client = load_client(bundle, certificate=UNCERTIFIED)
    before = Ledger.of_user().summary(timedelta(days=1))
    with pytest.raises(UserError, match=r"UTF-8 can hold, got '\\udce4' at character 1 "):
        client.release("a\udce4")
    assert client.charged == 0
    assert Ledger.of_user().summary(timedelta(days=1)) == before


def test_bytes_that_are_no_utf8_end_with_code_2_in_a_process(bundle, tmp_path):
    command = [sys.executable, "-m", "del_audit", "send", str(bundle), "--uncertified", "--out", str(tmp_path / "m")]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, input=b"ab\xe4", capture_output=True, env=environment)
    assert done.returncode == 2
    assert b"byte 0xe4 at offset 2" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run([*command, "--text", b"ab\xe4"], capture_output=True, env=environment)
    assert done.returncode == 2
    assert b"byte 0xe4 at offset 2" in done.stderr


def test_a_broken_quantizer_writes_nothing(bundle, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("the quantizer is broken")

    monkeypatch.setattr(StochasticQuantizer, "sample", refuse)
    with pytest.raises(RuntimeError, match="broken"):
        send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_left_alone(bundle, tmp_path):
    path = tmp_path / "message"
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="does not exist yet"):
        send(bundle, PROMPT, path, UNCERTIFIED)
    assert path.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_charged(bundle, tmp_path):
    before = Ledger.of_user().summary(timedelta(days=1))
    with pytest.raises(UserError, match="can be written"):
        send(bundle, PROMPT, tmp_path / "none" / "message", UNCERTIFIED)
    assert Ledger.of_user().summary(timedelta(days=1)) == before


def test_a_message_that_cannot_be_written_stays_charged_and_that_is_said(bundle, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    _, before = send(bundle, PROMPT, tmp_path / "first", UNCERTIFIED), Ledger.of_user().summary(timedelta(days=1))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(UserError, match=r"No space left.*tokens stay charged in your ledger"):
            send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED)
    after = Ledger.of_user().summary(timedelta(days=1))
    assert after.spent[0].releases == before.spent[0].releases + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]


def test_a_file_that_appears_meanwhile_is_left_alone(bundle, tmp_path, monkeypatch):
    sample = StochasticQuantizer.sample

    def slowly(*arguments):
        (tmp_path / "message").write_bytes(b"mine")
        return sample(*arguments)

    monkeypatch.setattr(StochasticQuantizer, "sample", slowly)
    with pytest.raises(UserError, match="stay charged"):
        send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED)
    assert (tmp_path / "message").read_bytes() == b"mine"


def test_a_file_system_without_hard_links_gets_the_message(bundle, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    send(bundle, PROMPT, tmp_path / "first", UNCERTIFIED)
    monkeypatch.setattr("os.link", fail)
    assert send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED) == 0
    assert (tmp_path / "message").stat().st_size == (tmp_path / "first").stat().st_size
