import base64
import os
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mechanisms import keyring
from mechanisms.errors import UserError
from mechanisms.keyring import (
    PASSPHRASE,
    config_folder,
    load_private_key,
    load_public_key,
    new_key,
    own_key,
    public_key,
    public_pem,
    trusted_keys,
)
from mechanisms.signed_document import raw_public_key


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(PASSPHRASE, raising=False)
    return tmp_path / "config"


def test_a_new_key_is_private_and_its_public_half_lies_beside(tmp_path):
    key = new_key(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert raw_public_key(load_private_key(tmp_path / "key.pem")) == raw_public_key(key)
    assert load_public_key(tmp_path / "key.pem.pub") == raw_public_key(key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "key.pem.pub"]


@pytest.mark.parametrize("exists", ["key.pem", "key.pem.pub"])
def test_no_key_is_overwritten(tmp_path, exists):
    (tmp_path / exists).write_text("mine")
    with pytest.raises(UserError, match="does not exist yet"):
        new_key(tmp_path / "key.pem")
    assert [path.name for path in tmp_path.iterdir()] == [exists]
    assert (tmp_path / exists).read_text() == "mine"


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="can be written"):
        new_key(tmp_path / "none" / "key.pem")


def test_openssl_reads_the_key(tmp_path):
    new_key(tmp_path / "key.pem")
    command = ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-pubout"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.stdout == (tmp_path / "key.pem.pub").read_bytes()


def test_an_encrypted_key_needs_its_passphrase(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "open sesame")
    key = new_key(tmp_path / "key.pem")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    assert raw_public_key(load_private_key(tmp_path / "key.pem")) == raw_public_key(key)
    monkeypatch.setenv(PASSPHRASE, "another")
    with pytest.raises(UserError, match="or another passphrase"):
        load_private_key(tmp_path / "key.pem")
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(UserError, match=f"passphrase of .* in the variable {PASSPHRASE}"):
        load_private_key(tmp_path / "key.pem")


def test_a_key_that_others_may_read_is_refused(tmp_path):
    new_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(UserError, match=r"mode 600.*got 640"):
        load_private_key(tmp_path / "key.pem")


def _file(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_other_kinds_of_keys_are_refused(tmp_path):
    other = rsa.generate_private_key(65537, 2048)
    private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UserError, match="another kind of key"):
        load_private_key(_file(tmp_path / "rsa", private))
    with pytest.raises(UserError, match="another kind of key"):
        load_public_key(_file(tmp_path / "rsa.pub", public))
    for data in (b"", b"\x00" * 100, b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n", public):
        with pytest.raises(UserError, match="Ed25519 private key in PEM"):
            load_private_key(_file(tmp_path / "none", data))
    for data in (b"", b"\xff" * 100, private):
        with pytest.raises(UserError, match="Ed25519 public key in PEM"):
            load_public_key(_file(tmp_path / "none", data))


def test_the_own_key_is_made_once(config):
    first, second = own_key(), own_key()
    assert (first.made, second.made) == (True, False)
    assert first.path == config / "key.pem"
    assert raw_public_key(first.private) == raw_public_key(second.private)
    assert stat.S_IMODE(config.stat().st_mode) == 0o700


def test_processes_that_use_it_first_at_once_have_one_key(config):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: raw_public_key(own_key().private), range(8)))
    assert len(set(keys)) == 1


def test_the_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("DEL_AUDIT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert str(config_folder()) == "/etc/xdg/del-audit"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_folder() == tmp_path / ".config" / "del-audit"


def test_a_public_key_is_taken_as_file_base64_and_hex(tmp_path):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    raw = raw_public_key(key)
    (tmp_path / "a.pub").write_bytes(public_pem(key))
    given = (str(tmp_path / "a.pub"), raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), f" {raw.hex()}\n")
    assert {public_key(each) for each in given} == {raw}


@pytest.mark.parametrize("given", ["", "abc", "00" * 31, "0" * 63 + "g", "A" * 42 + "B=", "/dev/zero", "."])
def test_what_is_no_public_key_is_refused(given):
    with pytest.raises(UserError):
        public_key(given)


def test_trust_is_the_own_key_and_the_folder_unless_keys_are_given(config, tmp_path):
    assert trusted_keys() == frozenset()
    own = raw_public_key(own_key().private)
    assert trusted_keys() == {own}
    (config / "trusted").mkdir()
    other = new_key(tmp_path / "other")
    os.rename(tmp_path / "other.pub", config / "trusted" / "other.pub")
    assert trusted_keys() == {own, raw_public_key(other)}
    third = new_key(tmp_path / "third")
    assert trusted_keys([str(tmp_path / "third.pub")]) == {raw_public_key(third)}


def _junk(kind, path):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a dangling link":
        path.symlink_to(path.with_name("none"))
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "an RSA key":
        path.write_bytes(
            rsa.generate_private_key(65537, 2048)
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    elif kind == "a private key":
        new_key(path)
    elif kind == "unreadable":
        path.write_bytes(public_pem(ed25519.Ed25519PrivateKey.generate()))
        path.chmod(0)
    else:
        path.write_bytes({"empty": b"", "text": b"no key", "too long": b"-" * 20_000, "line ends": b"\n\n"}[kind])


KINDS = ["a folder", "a dangling link", "a pipe", "an RSA key", "a private key", "unreadable"]
KINDS += ["empty", "text", "too long", "line ends"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_key_in_the_trusted_folder_is_skipped_and_named(config, tmp_path, capsys, kind):
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads every file")
    own, other = raw_public_key(own_key().private), new_key(tmp_path / "other")
    (config / "trusted").mkdir()
    junk = config / "trusted" / "broken.pub"
    _junk(kind, junk)
    (config / "trusted" / "broken.pub.pub").unlink(missing_ok=True)  # the public half of a private key
    os.rename(tmp_path / "other.pub", config / "trusted" / "other.pub")
    assert trusted_keys() == trusted_keys() == {own, raw_public_key(other)}
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"It is not trusted: delete {str(junk)!r} or replace it.")


def test_a_key_that_cannot_be_read_for_a_reason_of_the_system_is_skipped(config, monkeypatch, capsys):
    (config / "trusted").mkdir(parents=True)
    (config / "trusted" / "locked.pub").write_bytes(public_pem(ed25519.Ed25519PrivateKey.generate()))

    def locked(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("mechanisms.small_file.os.open", locked)
        assert trusted_keys() == frozenset()
    assert "Permission denied" in capsys.readouterr().err


def test_what_is_wrong_elsewhere_still_stops(config):
    own_key()
    (config / "revoked").mkdir()
    (config / "revoked" / "broken.json").write_text("no list")
    with pytest.raises(UserError, match=r"broken\.json"):
        trusted_keys()
    (config / "revoked" / "broken.json").unlink()
    (config / "key.pem.pub").write_text("no key")
    with pytest.raises(UserError, match="public key in PEM"):
        trusted_keys()


def test_the_own_key_is_trusted_where_its_public_half_was_lost(config):
    own = raw_public_key(own_key().private)
    (config / "key.pem.pub").unlink()
    assert trusted_keys() == {own}


@pytest.mark.parametrize("nth", [0, 1])
def test_a_write_that_fails_leaves_no_key(tmp_path, monkeypatch, nth):
    calls = []

    def fail(handle):
        calls.append(handle)
        if len(calls) > nth:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(keyring.os, "fsync", fail)
    with pytest.raises(UserError, match="No space left"):
        new_key(tmp_path / "key.pem")
    assert not list(tmp_path.iterdir())
