import numpy as np
import pytest

from attacks.base import invert, observe
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack, unpack


class Spy:
    """Guesses the commonest word, and keeps what it was shown."""

    name = "spy"

    def __init__(self):
        self.shown = []

    def guess(self, *arguments, **options):
        self.shown.append((arguments, options))
        return np.full(len(arguments[1]), arguments[0].prior.argmax())


@pytest.fixture
def public(random_public):
    return random_public(bits=4, dim=3, mu=5.0, words=9, seed=0)


def test_an_observation_is_the_counts_of_all_messages_in_order(public, release):
    messages, _ = release(public, 3, seed=0)
    counts = observe(public, messages)
    assert counts.shape == (150, 3)
    assert np.array_equal(counts, np.concatenate([unpack(message, public.spec) for message in messages]))


def test_no_messages_are_refused(public):
    with pytest.raises(UserError, match="at least one message"):
        observe(public, [])


def test_a_message_of_another_spec_is_refused(public, release):
    messages, _ = release(public, 1, seed=0)
    other = QuantizerSpec(4, 3, 0.05, 1.0)
    with pytest.raises(UserError, match="do not run the same quantizer"):
        observe(public, [*messages, pack(np.zeros((2, 3), dtype=np.uint8), other)])


def test_the_truth_reaches_no_attack(public, release):
    messages, truth = release(public, 2, seed=0)
    counts = observe(public, messages)
    spy = Spy()
    outcome = invert(spy, public, counts, truth)
    ((arguments, options),) = spy.shown
    assert options == {}
    assert len(arguments) == 2
    assert arguments[0] is public
    assert arguments[1] is counts
    assert outcome.attack == "spy"
    commonest = int(public.prior.argmax())
    assert np.array_equal(outcome.guesses, np.full(100, commonest))
    assert np.array_equal(outcome.hits, truth == commonest)
    assert outcome.hits.dtype == np.bool_
    assert 0 < outcome.hits.sum() < 100
    wrong = invert(spy, public, counts, np.full_like(truth, commonest - 1))
    assert np.array_equal(wrong.guesses, outcome.guesses)
    assert not wrong.hits.any()


@pytest.mark.parametrize("length", [0, 99, 101])
def test_a_truth_of_another_length_is_refused_before_the_attack(public, release, length):
    messages, _ = release(public, 2, seed=0)
    spy = Spy()
    with pytest.raises(UserError, match=f"100 true tokens.*got {length}"):
        invert(spy, public, observe(public, messages), np.zeros(length, dtype=np.int64))
    assert spy.shown == []
