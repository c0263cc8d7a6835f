"""A mechanism of one's own is never taken for a built-in one, whose guarantee is proved of its own code alone."""

import numpy as np
import pytest

from del_audit.configuration.mechanisms import OwnMechanism
from del_audit.service.mechanisms import mechanism_over
from mechanisms.errors import UserError
from mechanisms.public_words import PublicWords
from mechanisms.rivals import RandomizedResponseSpec
from mechanisms.spec import QuantizerSpec

PUBLIC = PublicWords(np.eye(5, dtype=np.float32), [[0, 1, 2, 3, 4]])


class Stated(RandomizedResponseSpec):
    """A class of one's own over a built-in description."""


class Record:
    """A description that is a plain record."""

    fingerprint = b"x" * 32

    def __init__(self, record):
        self.record = record

    def to_dict(self):
        return self.record


class Clear:
    """Sends every word as it is, and states whatever it is told to."""

    name = "clear"
    spec: object = None

    @classmethod
    def of(cls, public):
        return cls()

    def release(self, tokens, source):
        return bytes(tokens)

    def observed(self, message):
        return np.frombuffer(message, np.uint8)

    def embeddings(self, message):
        return PUBLIC.table[self.observed(message)]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (RandomizedResponseSpec.from_epsilon(5, 0.1), "built-in mechanism"),
        (Stated.from_epsilon(5, 0.1), "built-in mechanism"),
        (QuantizerSpec.from_mu(1, 1, 0.05, 0.1), "built-in mechanism"),
        (Record({"kind": "randomized response", "words": 5}), "built-in mechanism"),
        (Record({"words": 5}), "built-in mechanism"),
        (Record({"kind": 3}), "a kind in text"),
        (Record({"kind": "clear", "table": [1, 2]}), "fields of text, numbers"),
    ],
)
def test_it_cannot_bear_a_built_in_description(monkeypatch, spec, told):
    monkeypatch.setattr(Clear, "spec", spec)
    with pytest.raises(UserError, match=f"description of its own.*{told}"):
        mechanism_over(OwnMechanism(kind=f"{__name__}:Clear"), PUBLIC)


def test_with_a_description_of_its_own_it_is_made(monkeypatch):
    monkeypatch.setattr(Clear, "spec", Record({"kind": "clear", "words": 5}))
    assert mechanism_over(OwnMechanism(kind=f"{__name__}:Clear"), PUBLIC).name == "clear"
