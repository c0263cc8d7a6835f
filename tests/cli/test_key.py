import base64
import re

import pytest

from del_audit.cli import main
from mechanisms.keyring import load_public_key
from mechanisms.signed_document import fingerprint


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
