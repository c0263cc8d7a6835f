"""Whatever byte of a signed certificate is changed: it is not accepted, and nothing crashes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from del_audit.certificate.verify import verify
from mechanisms.errors import UserError
from mechanisms.keyring import load_public_key
from mechanisms.randomness import simulation_generator

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"
DATA = (FIXTURES / "certificate-6.json").read_bytes()
TRUSTED = {load_public_key(FIXTURES / "certificate-6.pub")}
NOW = datetime(2026, 12, 31, tzinfo=UTC)


def accepted(data: bytes) -> bool:
    """Returns whether a file is taken for a valid certificate; only the user's error is caught."""
    try:
        return verify(data, TRUSTED, NOW, recompute=False).valid
    except UserError:
        return False


def changed(data: bytes, kind: str, place: int, byte: int) -> bytes:
    match kind:
        case "replace":
            return data[:place] + bytes([byte if byte != data[place] else byte ^ 1]) + data[place + 1 :]
        case "insert":
            return data[:place] + bytes([byte]) + data[place:]
        case "delete":
            return data[:place] + data[place + 1 :]
        case "flip":
            return data[:place] + bytes([data[place] ^ 1 << byte % 8]) + data[place + 1 :]
        case _:
            return data[:place]


def test_the_whole_one_is_accepted():
    assert accepted(DATA)


def sample(count: int, label: str):
    generator = simulation_generator(0, label)
    places, bytes_ = generator.integers(0, len(DATA), count), generator.integers(0, 256, count)
    kinds = generator.choice(["replace", "insert", "delete", "flip", "truncate"], count, p=[0.4, 0.2, 0.1, 0.2, 0.1])
    return zip(kinds, places.tolist(), bytes_.tolist(), strict=True)


def test_changes_of_a_single_byte_are_refused():
    assert not [change for change in sample(300, "some changes") if accepted(changed(DATA, *change))]


@pytest.mark.slow
def test_ten_thousand_changes_of_a_single_byte_are_refused():
    assert not [change for change in sample(10_000, "many changes") if accepted(changed(DATA, *change))]


def test_changes_within_the_signature_are_refused():
    start = DATA.index(b'"signature"')
    end = DATA.index(b"}", start)
    for place in range(start, end):
        for kind, byte in (("replace", b"A"[0]), ("insert", b"="[0])):
            assert not accepted(changed(DATA, kind, place, byte)), (kind, place)


@pytest.mark.parametrize("count", [2, 10, 1_000])
def test_several_changes_are_refused(count):
    data = DATA
    for kind, place, byte in sample(count, f"{count} changes"):
        data = changed(data, kind if kind != "truncate" else "flip", place % len(data), byte)
    assert not accepted(data)


@pytest.mark.parametrize("more", [b"\n", b" ", b"\x00", DATA, b"{}"])
def test_nothing_may_stand_before_or_after(more):
    assert not accepted(DATA + more)
    assert not accepted(more + DATA)
