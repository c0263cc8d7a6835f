"""Prompts that are filled up: a message shows one of a few lengths, and what fills a prompt up is charged."""

import numpy as np
import pytest

from mechanisms.client import Client, CodeReleaser
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.ledger import Account, AllowanceError, Ledger
from mechanisms.padding import SECTION, VERSION, Padding
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Terms
from mechanisms.wire import unpack

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
LEVELS = np.random.default_rng(0).integers(0, 255, (100, 6), dtype=np.uint8)
PADDING = Padding((8, 16, 48), 7)


@pytest.fixture
def account(tmp_path):
    return Account(Ledger(tmp_path / "ledger.sqlite"), "d", "t")


def client(account, padding=PADDING, **terms):
    return Client(
        None, CodeReleaser(Encoder(LEVELS, SPEC.clip), SPEC), 60, None, Terms(padding=padding, **terms), account
    )


def test_a_message_shows_the_length_it_was_filled_up_to_and_no_other(account):
    filled = {len(client(account).release_tokens(range(count))) for count in range(9, 17)}
    plain = {len(client(account, padding=None).release_tokens(range(count))) for count in range(9, 17)}
    assert len(filled) == 1
    assert len(plain) == 8


def test_the_filler_stands_behind_the_prompt_and_is_released_with_fresh_noise(account):
    assert PADDING.filled(np.arange(5)).tolist() == [0, 1, 2, 3, 4, 7, 7, 7]
    assert PADDING.filled(np.arange(16)).tolist() == list(range(16))
    counts = unpack(client(account).release_tokens(range(17)), SPEC)
    assert counts.shape == (48, 6)
    assert len(np.unique(counts[17:], axis=0)) > 20  # one word, 31 times: the same counts again and again without noise


def test_what_fills_a_prompt_up_is_charged(account):
    sender = client(account, session_tokens=64)
    sender.release_tokens(range(17))
    assert sender.charged == 48
    assert account.ledger.summary(Terms().period).spent[0].tokens == 48
    with pytest.raises(AllowanceError, match="Expected at most 16 tokens"):
        sender.release_tokens(range(20, 37))
    sender.release_tokens(range(3))
    assert account.ledger.summary(Terms().period).spent[0].tokens == 56


def test_the_filler_is_no_text_that_was_sent_before(account):
    sender = client(account, sends=1)
    for start in range(5):
        sender.release_tokens(range(20 * start, 20 * start + 17))
    with pytest.raises(AllowanceError):
        sender.release_tokens(range(17))


def test_longer_prompts_than_the_last_length_are_not_sent(account):
    with pytest.raises(UserError, match="at most 48 tokens, the longest that the certificate fills up to, got 49"):
        client(account).release_tokens(range(49))
    assert not account.ledger.path.exists()


@pytest.mark.parametrize(
    ("lengths", "filler", "said"),
    [
        ((), 0, "at least one length"),
        ((0, 8), 0, "length to be a whole number >= 1, got length=0"),
        ((16, 8), 0, "lengths that rise, got 16, 8"),
        ((8, 8), 0, "lengths that rise"),
        ((8, True), 0, "whole number"),
        ((8,), -1, "filler to be a whole number >= 0"),
        ((8.0,), 0, "whole number"),
    ],
)
def test_other_lengths_and_fillers_are_refused(lengths, filler, said):
    with pytest.raises(UserError, match=said):
        Padding(lengths, filler)


def test_a_section_that_is_not_understood_sends_nothing():
    good = {"version": VERSION, "unit": "tokens", "lengths": [8, 16], "filler": 3}
    assert Padding.of_section(good) == Padding((8, 16), 3)
    assert Padding.of_section(None) is None
    for wrong in ({"version": 2}, {"lengths": "8"}, {"lengths": [16, 8]}, {"filler": None}, {"lengths": None}):
        with pytest.raises(UserError, match=f"section {SECTION} is understood here"):
            Padding.of_section({**good, **wrong})
    with pytest.raises(UserError, match="is understood here"):
        Padding.of_section({"version": VERSION})
