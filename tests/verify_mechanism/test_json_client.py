"""The protocol: what is sent for any values, and that nothing but an answer or a refusal counts as one."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from del_audit.verify_mechanism.json_client import MOST_FAULTS, JsonClient, answer_limit, read_answer, request
from del_audit.verify_mechanism.target import NoAnswer, Refused
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

SPEC = QuantizerSpec(bits=4, dim=3, clip=0.05, scale=0.1)
COUNTS = np.arange(6).reshape(2, 3)
VALUES = np.full((2, 3), 0.05)


def _client(*answers: bytes) -> JsonClient:
    left = list(answers)
    return JsonClient(SPEC, lambda line, limit: left.pop(0))


def test_every_double_arrives_as_it_is():
    values = np.array([[0.1, -0.05, 1e300 * 0.05], [5e-324, -0.0, np.nextafter(0.05, 1)]])
    sent = json.loads(request(values))
    assert list(sent) == ["values"]
    assert np.array(sent["values"]).tobytes() == values.tobytes()


def test_what_is_no_number_is_a_word_that_float_reads():
    sent = json.loads(request(np.array([[np.nan, np.inf, -np.inf]])))
    assert sent["values"] == [["NaN", "Infinity", "-Infinity"]]
    assert [str(float(word)) for word in sent["values"][0]] == ["nan", "inf", "-inf"]


def test_requests_of_one_shape_are_equally_long_on_one_line():
    longest = np.full((4, 3), -1.2345678901234567e-300)
    lengths = {len(request(v)) for v in (np.full((4, 3), 0.05), np.full((4, 3), -0.05), longest, np.zeros((4, 3)))}
    assert len(lengths) == 1
    assert b"\n" not in request(longest)


def test_the_limit_of_an_answer_is_far_above_a_plain_one():
    values = np.zeros((1000, 18))
    assert answer_limit(values) > 10 * len(json.dumps({"counts": np.full((1000, 18), 255).tolist()}, indent=1))


def test_answers_and_refusals():
    counts = read_answer(b' {"counts": [[0, 1], [2, 3]]}\r')
    assert counts.tolist() == [[0, 1], [2, 3]]
    assert counts.dtype.kind == "i"
    assert read_answer(b'{"message": "REVMMQ=="}') == b"DEL1"
    with pytest.raises(Refused, match="not finite"):
        read_answer(b'{"error": "not finite"}')


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no JSON"),
        (b"Traceback (most recent call last):", "no JSON came back but 'Traceback"),
        (b"\xff\xfe", "no JSON"),
        (b'{"counts": [[NaN]]}', "NaN is no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"counts": [[' + b"9" * 5000 + b"]]}", "no JSON"),
        (b"[[1]]", "one of counts, message, error"),
        (b"{}", "one of counts, message, error"),
        (b'{"count": [[1]]}', "one of counts, message, error"),
        (b'{"error": "no", "counts": [[1]]}', "alone"),
        (b'{"counts": 7}', "list of rows, got '7'"),
        (b'{"counts": [1, 2]}', "list of rows"),
        (b'{"counts": [[1, 2], [3]]}', "equal length"),
        (b'{"counts": [[true]]}', "true or false"),
        (b'{"message": "not base64!"}', "base64"),
        (b'{"message": 7}', "base64"),
        (b'{"message": "\xc3\xa9"}', "base64"),
    ],
    ids=range(17),
)
def test_anything_else_is_no_answer(data, says):
    with pytest.raises(NoAnswer, match=says):
        read_answer(data)


CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.sampled_from(["counts", "message", "error", "other"]), parts),
)


@given(st.binary() | CONTENT.map(lambda content: json.dumps(content).encode()))
def test_whatever_comes_back_is_an_answer_a_refusal_or_none(data):
    said = ""
    try:
        assert isinstance(read_answer(data), np.ndarray | bytes)
    except Refused as refused:
        keys, said = list(json.loads(data)), str(refused)
        assert keys == ["error"]
    except NoAnswer as failed:
        said = str(failed)
    assert said.isprintable()  # it goes to a terminal


@pytest.mark.parametrize(
    ("counts", "kind"), [([[0.5]], "f"), ([["1"]], "U"), ([[None]], "O"), ([[2**70]], "O"), ([[]], "f")]
)
def test_counts_of_another_kind_are_for_the_battery_to_judge(counts, kind):
    assert read_answer(json.dumps({"counts": counts}).encode()).dtype.kind == kind


def test_a_client_that_fails_again_and_again_is_not_called_again():
    client = _client(*[b"oops"] * MOST_FAULTS)
    for _ in range(MOST_FAULTS + 3):
        with pytest.raises(NoAnswer):
            client.release(VALUES)
    assert len(client.faults) == MOST_FAULTS
    assert client.answered == 0
    assert client.faults[0].endswith("(for 2 rows of 3 values)")


def test_a_refusal_is_no_fault():
    client = _client(b'{"error": "no"}')
    with pytest.raises(Refused):
        client.release(VALUES)
    assert (client.answered, client.faults) == (1, [])


def test_counts_are_read_from_messages():
    message = pack(COUNTS, SPEC)
    answer = json.dumps({"message": base64.b64encode(message).decode()}).encode()
    client = _client(answer, answer, answer)
    client.greet()
    assert client.messages
    assert client.release(VALUES).tolist() == COUNTS.tolist()
    assert client.message(VALUES) == message


def test_a_broken_message_is_an_error_for_numbers_and_no_refusal_for_others():
    """A client that sends something for NaN, whatever it is, has not refused it."""
    client = _client(*[b'{"message": "REVMMQ=="}'] * 2)
    with pytest.raises(UserError, match="truncated"):
        client.release(VALUES)
    assert client.release(np.full((2, 3), np.nan)) == b"DEL1"


@pytest.mark.parametrize("answer", [b"oops", b'{"error": "not today"}'])
def test_a_client_that_does_not_release_zeros_is_a_user_error(answer):
    with pytest.raises(UserError, match="release one row of 3 zeros at first, got"):
        _client(answer).greet()
