import io
import sys
from datetime import timedelta

import numpy as np
import pytest

from del_audit.send import send
from mechanisms.client_bundle import save_client_bundle
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard
from mechanisms.errors import UserError
from mechanisms.ledger import Ledger
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
    save_client_bundle(folder, encoder, EncoderCard("tiny", "", SPEC), tokenizer, 60)
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
        patch.setattr("del_audit.send.os.fsync", fail)
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
    monkeypatch.setattr("del_audit.send.os.link", fail)
    assert send(bundle, PROMPT, tmp_path / "message", UNCERTIFIED) == 0
    assert (tmp_path / "message").stat().st_size == (tmp_path / "first").stat().st_size
