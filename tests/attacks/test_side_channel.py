import numpy as np
import pytest

from attacks.side_channel import BYTES, CODED, TOKENS, padding_name, side_channels
from mechanisms.entropy_coding import shorten
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec
from mechanisms.wire import message_bytes


@pytest.fixture(scope="module")
def pipeline(random_public):
    return random_public(bits=4, dim=3, mu=8.0, words=15, seed=0)


def test_every_size_is_that_of_the_message(pipeline):
    lengths = [1, 31, 32, 33, 70]
    messages = [pipeline.release([2] * n, SimulatedRandomness(n, "sizes")) for n in lengths]
    found = side_channels(pipeline, messages, buckets=(32, 64))
    assert found.sizes[TOKENS].tolist() == lengths
    assert found.sizes[BYTES].tolist() == [message_bytes(pipeline.spec, n) for n in lengths]
    assert found.sizes[padding_name(32)].tolist() == [32, 32, 32, 64, 96]
    assert found.sizes[padding_name(64)].tolist() == [64, 64, 64, 64, 128]
    assert found.sizes[CODED].tolist() == [len(shorten(m, pipeline.spec)) for m in messages]
    assert found.left_out == {}
    assert found.features.shape == (5, 10)


def test_the_entropy_coded_size_depends_on_more_than_the_number_of_tokens(pipeline):
    messages = [pipeline.release([2] * 40, SimulatedRandomness(n, "sizes")) for n in range(30)]
    found = side_channels(pipeline, messages).sizes
    assert len(set(found[BYTES].tolist())) == 1
    assert len(set(found[CODED].tolist())) > 1


def test_a_rival_has_no_entropy_coding_and_it_is_said():
    rival = RandomizedResponse(RandomizedResponseSpec.from_epsilon(15, 2.0), np.eye(15, dtype=np.float32))
    found = side_channels(rival, [rival.release([1, 2], SimulatedRandomness(0, "sizes"))])
    assert found.sizes[TOKENS].tolist() == [2]
    assert CODED in found.left_out
    assert CODED not in found.sizes


def test_bad_input_is_refused(pipeline):
    message = pipeline.release([1, 2], SimulatedRandomness(0, "sizes"))
    with pytest.raises(UserError, match="at least one message"):
        side_channels(pipeline, [])
    with pytest.raises(UserError, match="bucket=1"):
        side_channels(pipeline, [message], buckets=(1,))
    with pytest.raises(UserError):
        side_channels(pipeline, [message[:-1]])
