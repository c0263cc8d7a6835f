"""What travels between proxy and server: read again as it was written, and refused where it is anything else."""

import asyncio
import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from del_audit.serving.events import Event, event_bytes, read_event, read_events
from del_audit.serving.protocol import ROLES, Request, Sampling, Segment, read_request, request_bytes
from mechanisms.errors import UserError

segments = st.builds(Segment, st.sampled_from(ROLES), st.one_of(st.binary(max_size=60), st.text(max_size=20)))
samplings = st.builds(
    Sampling,
    st.integers(1, 4096),
    st.floats(0, 2),
    st.floats(0.01, 1),
    st.none() | st.integers(0, (1 << 62) - 1),
    st.integers(1, 16),
)
names = st.binary(min_size=16, max_size=16)
requests = st.builds(
    Request,
    st.binary(min_size=32, max_size=32),
    names,
    st.none() | st.tuples(names, st.integers(0, 15)),
    st.lists(segments, min_size=1, max_size=4).map(tuple),
    samplings,
)
ONE = Request(b"c" * 32, b"e" * 16, None, (Segment("user", b"message"),), Sampling(16, 0.7, 0.9, None, 1))


@given(requests)
def test_a_request_is_read_as_it_was_written(request):
    assert read_request(request_bytes(request)) == request


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused(data):
    with pytest.raises(UserError):
        read_request(data)


@given(st.data())
def test_a_request_with_one_byte_changed_is_read_or_refused(data):
    sent = bytearray(request_bytes(ONE))
    sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        assert isinstance(read_request(bytes(sent)), Request)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, 2, "another version"),
        (1, b"short", "at 1"),
        (2, b"e" * 17, "at 2"),
        (3, [b"e" * 16, 16], "at 3"),
        (4, [], "at 4"),
        (4, [[4, b"message"]], "at 4"),
        (4, [[1, 7]], "at 4"),
        (4, [[1, b"message", 1]], "at 4"),
        (5, [16, 0.7, 0.0, None, 1], "at 5"),
        (5, [0, 0.7, 0.9, None, 1], "at 5"),
        (5, [16, float("nan"), 0.9, None, 1], "at 5"),
        (5, [16, 0.7, 0.9, None, 17], "at 5"),
        (5, [16, 0.7, 0.9, None, 1, "user"], "at 5"),
    ],
)
def test_what_is_out_of_range_is_named_by_its_place(place, value, said):
    fields = msgpack.unpackb(request_bytes(ONE))
    fields[place] = value
    with pytest.raises(UserError, match=said):
        read_request(msgpack.packb(fields))


def test_a_first_turn_adds_little_to_the_released_message():
    message = b"m" * 592
    for length in (message, message * 20):
        request = Request(b"c" * 32, b"e" * 16, None, (Segment("user", length),), Sampling(4096, 0.7, 0.9, 1 << 61, 1))
        assert len(request_bytes(request)) - len(length) <= 96


pieces = st.lists(st.tuples(st.integers(0, 15), st.text(max_size=30)), max_size=5).map(tuple)


@given(pieces, st.sampled_from([1, 64, 256]))
def test_an_event_is_read_as_it_was_written_and_padded_to_whole_frames(said, frame):
    event = Event(said, ((0, "stop"),))
    data = event_bytes(event, frame)
    assert len(data) % frame == 0
    assert read_event(data) == event


def test_events_are_read_whatever_the_chunks_are():
    sent = b"".join(event_bytes(Event(((0, f"piece {n}\n\n"),))) for n in range(5)) + event_bytes(Event(usage=(3, 5)))

    async def read(size):
        async def chunks():
            for start in range(0, len(sent), size):
                yield sent[start : start + size]

        return [event async for event in read_events(chunks())]

    for size in (1, 7, 256, len(sent)):
        found = asyncio.run(read(size))
        assert [event.pieces for event in found[:-1]] == [((0, f"piece {n}\n\n"),) for n in range(5)]
        assert found[-1].usage == (3, 5)


@pytest.mark.parametrize(
    "sent", [b"", event_bytes(Event(((0, "a"),))), b"data: [1]\n\n", b"hello\n\n", b"x" * (1 << 21)]
)
def test_a_stream_that_is_cut_off_or_none_is_refused(sent):
    async def read():
        async def chunks():
            yield sent

        return [event async for event in read_events(chunks())]

    with pytest.raises(UserError):
        asyncio.run(read())
