import base64
import re

import pytest

from del_audit.certificate.certify import _signer
from del_audit.cli import main
from mechanisms.errors import UserError
from mechanisms.keyring import load_public_key
from mechanisms.signed_document import fingerprint, raw_public_key


def test_a_new_key_is_printed_and_shown(tmp_path, capsys):
    assert main(["key", "new", "--out", str(tmp_path / "key.pem")]) == 0
    made = capsys.readouterr().out
    public = load_public_key(tmp_path / "key.pem.pub")
    assert base64.b64encode(public).decode() in made
    assert fingerprint(public) in made
    assert "PRIVATE" not in made
    assert main(["key", "show", str(tmp_path / "key.pem")]) == 0
    assert capsys.readouterr().out == "\n".join(made.splitlines()[1:]) + "\n"


def test_no_key_is_overwritten(tmp_path, capsys):
    assert main(["key", "new", "--out", str(tmp_path / "key.pem")]) == 0
    before = (tmp_path / "key.pem").read_bytes()
    assert main(["key", "new", "--out", str(tmp_path / "key.pem")]) == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert (tmp_path / "key.pem").read_bytes() == before


def test_the_own_key_is_made_at_first_use_and_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    shown = []
    for word in ("Made", "File"):
        assert main(["key", "show"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{word}: {tmp_path / 'config' / 'key.pem'}")
        shown.append(re.findall("SHA256:.*", printed))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("command", [[], ["new"], ["old"], ["show", "none.pem"]])
def test_bad_commands_end_with_code_2(command, capsys):
    assert main(["key", *command]) == 2
    assert capsys.readouterr().err.startswith("del-audit: error: ")


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_a_key_is_revoked_listed_and_shown(config, tmp_path, capsys):
    assert main(["key", "new", "--out", str(tmp_path / "ci.pem")]) == 0
    public = load_public_key(tmp_path / "ci.pem.pub")
    assert main(["key", "revoked"]) == 0
    assert "No key is revoked" in capsys.readouterr().out
    assert main(["key", "revoke", str(tmp_path / "ci.pem.pub"), "--reason", "the runner was shared"]) == 0
    assert fingerprint(public) in capsys.readouterr().out
    for command in (["revoked"], ["show", str(tmp_path / "ci.pem")]):
        assert main(["key", *command]) == 0
        printed = capsys.readouterr().out
        assert fingerprint(public) in printed
        assert "the runner was shared" in printed


def test_the_own_key_is_revoked_by_itself_and_what_to_do_is_said(config, capsys):
    assert main(["key", "show"]) == 0
    assert main(["key", "revoke", str(config / "key.pem.pub")]) == 0
    printed = capsys.readouterr().out
    assert "by itself" in printed
    assert "This was your own key" in printed
    (config / "trusted").mkdir()
    (config / "key.pem.pub").rename(config / "trusted" / "old.pub")
    (config / "key.pem").unlink()
    assert main(["key", "show"]) == 0
    assert main(["key", "revoked"]) == 0
    assert "by itself" in capsys.readouterr().out


def test_another_private_key_may_sign_the_list(config, tmp_path, capsys):
    assert main(["key", "new", "--out", str(tmp_path / "ci.pem")]) == 0
    assert main(["key", "revoke", str(tmp_path / "ci.pem.pub"), "--key", str(tmp_path / "ci.pem")]) == 0
    assert "by itself" in capsys.readouterr().out
    assert main(["key", "revoke", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]) == 0
    assert main(["key", "revoke", str(config / "key.pem.pub"), "--key", str(tmp_path / "ci.pem")]) == 2
    assert "whose lists count here" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["none.pub"], ["00" * 32], []])
def test_what_is_no_key_is_not_revoked(config, command, capsys):
    assert main(["key", "revoke", *command]) == 2
    assert capsys.readouterr().err.startswith("del-audit: error: ")
    assert not (config / "revoked").exists()


def test_a_revoked_key_signs_no_certificate(config, tmp_path):
    assert main(["key", "new", "--out", str(tmp_path / "ci.pem")]) == 0
    assert raw_public_key(_signer(tmp_path / "ci.pem")) == load_public_key(tmp_path / "ci.pem.pub")
    assert main(["key", "revoke", str(tmp_path / "ci.pem.pub"), "--reason", "it leaked"]) == 0
    with pytest.raises(UserError, match="it leaked"):
        _signer(tmp_path / "ci.pem")
    assert _signer(None)
    assert main(["key", "revoke", str(config / "key.pem.pub")]) == 0
    with pytest.raises(UserError, match="by itself"):
        _signer(None)
