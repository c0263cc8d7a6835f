"""A revoked key is trusted nowhere, and a list that cannot be believed stops everything that asks for trust."""

import base64
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import mechanisms
from mechanisms.client_certificate import require_trusted
from mechanisms.errors import UserError
from mechanisms.keyring import own_key, public_pem, require_not_revoked, revocations, trusted_keys
from mechanisms.revocation import FORMAT, revoke
from mechanisms.signed_document import open_signed, raw_public_key, sign, signed_bytes

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEY, OTHER, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2, 3))
PUBLIC, PUBLIC_OTHER, PUBLIC_STRANGER = map(raw_public_key, (KEY, OTHER, STRANGER))


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path))
    (tmp_path / "trusted").mkdir()
    for name, key in (("key", KEY), ("other", OTHER)):
        (tmp_path / "trusted" / f"{name}.pub").write_bytes(public_pem(key))
    return tmp_path


def entry(key=PUBLIC, **parts):
    return {"key": base64.b64encode(key).decode(), "date": NOW.isoformat(), "reason": "lost", **parts}


def listed(config, body, signer, name="list.json"):
    (config / "revoked").mkdir(exist_ok=True)
    (config / "revoked" / name).write_bytes(signed_bytes(sign(body, signer)))


def certificate(key=KEY):
    return open_signed(signed_bytes(sign({"a": 1}, key)), "certificate")


def test_a_revoked_key_is_trusted_by_nobody(config):
    assert trusted_keys() == {PUBLIC, PUBLIC_OTHER}
    require_trusted(certificate(), trusted_keys())
    path, _ = revoke(config / "revoked", PUBLIC, "the laptop was stolen", own_key().private, NOW)
    assert path.parent == config / "revoked"
    assert PUBLIC not in trusted_keys()
    assert PUBLIC_OTHER in trusted_keys()
    said = r"revoked on 2026-11-30 by SHA256:.*: the laptop was stolen"
    with pytest.raises(UserError, match=said):
        require_not_revoked(PUBLIC)
    for trusted in ({PUBLIC}, trusted_keys([PUBLIC.hex()])):
        with pytest.raises(UserError, match=said):
            require_trusted(certificate(), trusted)
    require_not_revoked(PUBLIC_OTHER)
    require_trusted(certificate(OTHER), trusted_keys())


def test_a_given_key_that_is_revoked_does_not_make_the_folder_count(config):
    """Nothing is left of what was given: then nobody is trusted, not the folder in its place."""
    revoke(config / "revoked", PUBLIC, "", own_key().private, NOW)
    assert trusted_keys([PUBLIC.hex()]) == frozenset()


def test_a_list_of_a_trusted_key_counts_also_once_that_key_is_revoked(config):
    listed(config, {"format": FORMAT, "keys": [entry(PUBLIC_STRANGER)]}, OTHER, "b.json")
    assert set(revocations()) == {PUBLIC_STRANGER}
    revoke(config / "revoked", PUBLIC_OTHER, "", own_key().private, NOW)
    assert set(revocations()) == {PUBLIC_STRANGER, PUBLIC_OTHER}


def test_a_key_revokes_itself_for_everybody(config):
    listed(config, {"format": FORMAT, "keys": [entry(PUBLIC_STRANGER)]}, STRANGER)
    assert str(revocations()[PUBLIC_STRANGER]) == "revoked on 2026-11-30 by itself: lost"
    assert trusted_keys([PUBLIC_STRANGER.hex()]) == frozenset()
    with pytest.raises(UserError, match="by itself"):
        require_trusted(certificate(STRANGER), {PUBLIC_STRANGER})


def write(data):
    return lambda folder: (folder / "list.json").write_bytes(data)


GOOD = sign({"format": FORMAT, "keys": [entry()]}, OTHER)
BROKEN = {
    "a stranger's": write(signed_bytes(sign({"format": FORMAT, "keys": [entry()]}, STRANGER))),
    "a stranger's, its own key as well": write(
        signed_bytes(sign({"format": FORMAT, "keys": [entry(PUBLIC_STRANGER), entry()]}, STRANGER))
    ),
    "not signed": write(signed_bytes({"format": FORMAT, "keys": [entry()]})),
    "changed": write(signed_bytes({**GOOD, "keys": [entry(PUBLIC_STRANGER)]})),
    "empty file": write(b""),
    "no JSON": write(b"\xff\x00"),
    "cut": write(signed_bytes(GOOD)[:-5]),
    "another format": write(signed_bytes(sign({"format": "del-audit revoked keys 2", "keys": [entry()]}, OTHER))),
    "another field": write(signed_bytes(sign({"format": FORMAT, "keys": [entry()], "until": "x"}, OTHER))),
    "no keys": write(signed_bytes(sign({"format": FORMAT, "keys": []}, OTHER))),
    "keys that are none": write(signed_bytes(sign({"format": FORMAT, "keys": "all"}, OTHER))),
    "a key that is none": write(signed_bytes(sign({"format": FORMAT, "keys": [entry(key=b"x")]}, OTHER))),
    "a date without zone": write(signed_bytes(sign({"format": FORMAT, "keys": [entry(date="2026-11-30")]}, OTHER))),
    "a reason of two lines": write(signed_bytes(sign({"format": FORMAT, "keys": [entry(reason="a\nb")]}, OTHER))),
    "an entry of more": write(signed_bytes(sign({"format": FORMAT, "keys": [entry(scope="x")]}, OTHER))),
    "a folder": lambda folder: (folder / "list.json").mkdir(),
    "a link to nothing": lambda folder: (folder / "list.json").symlink_to(folder / "none"),
    "another name": lambda folder: (folder / "list.json.bak").write_bytes(signed_bytes(GOOD)),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_in_the_folder_stops_whoever_asks(config, make):
    (config / "revoked").mkdir()
    make(config / "revoked")
    for ask in (
        trusted_keys,
        lambda: trusted_keys([PUBLIC_OTHER.hex()]),
        lambda: require_not_revoked(PUBLIC_OTHER),
        lambda: require_trusted(certificate(OTHER), {PUBLIC_OTHER}),
    ):
        with pytest.raises(UserError, match=r"list\.json") as refusal:
            ask()
        assert "\n" not in str(refusal.value)


def test_a_folder_that_is_none_stops_too(config):
    (config / "revoked").write_text("")
    with pytest.raises(UserError, match="folder of lists of revoked keys"):
        trusted_keys()


def test_a_list_is_extended_whole_or_not_at_all(config, monkeypatch):
    folder, own = config / "revoked", own_key().private
    path, first = revoke(folder, PUBLIC, "one", own, NOW)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(UserError, match="No space left"):
            revoke(folder, PUBLIC_OTHER, "two", own, NOW)
    assert path.read_bytes() == before
    assert [each.name for each in folder.iterdir()] == [path.name]
    assert revoke(folder, PUBLIC_OTHER, "two", own, NOW)[0] == path
    assert revoke(folder, PUBLIC, "again", own, NOW)[1] == first
    assert {key: one.reason for key, one in revocations().items()} == {PUBLIC: "one", PUBLIC_OTHER: "two"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("key", "reason"), [(bytes(32), ""), (bytes(31), ""), (PUBLIC, "x" * 201), (PUBLIC, "a\nb"), (PUBLIC, "\x1b[2J")]
)
def test_what_no_list_may_hold_is_not_written(config, key, reason):
    with pytest.raises(UserError):
        revoke(config / "revoked", key, reason, own_key().private, NOW)
    assert not (config / "revoked").exists()


def test_programs_that_revoke_at_once_lose_nothing_of_each_other(config):
    own_key()
    program = (
        "import sys; from datetime import UTC, datetime\n"
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K\n"
        "from mechanisms.keyring import own_key, revoked_folder\n"
        "from mechanisms.revocation import revoke\n"
        "from mechanisms.signed_document import raw_public_key\n"
        "for n in range(10):\n"
        "    key = raw_public_key(K.from_private_bytes(bytes([int(sys.argv[1])] * 31 + [n])))\n"
        "    revoke(revoked_folder(), key, '', own_key().private, datetime.now(UTC))\n"
    )
    root = Path(mechanisms.__file__).parent.parent
    running = [subprocess.Popen([sys.executable, "-c", program, str(number)], cwd=root) for number in range(10, 13)]
    assert [each.wait() for each in running] == [0, 0, 0]
    assert len(revocations()) == 30
