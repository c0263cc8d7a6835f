"""OpenAI's requests: what is taken, what stays in the proxy, and what is refused in OpenAI's own shape."""

import pytest

from del_audit.serving.openai_replies import Stopping
from del_audit.serving.openai_requests import DROPPED, ONLY, Turn, read_chat, read_completion
from del_audit.serving.protocol import Sampling
from del_audit.serving.refusal import RefusalError

USER = {"role": "user", "content": "It hurts"}


def chat(**fields):
    return {"model": "tiny", "messages": [USER], **fields}


def test_what_is_asked_for_is_read():
    asked = read_chat(
        chat(
            messages=[
                {"role": "developer", "content": "Be brief.", "name": "boss"},
                {"role": "user", "content": [{"type": "text", "text": "It "}, {"type": "text", "text": "hurts"}]},
                {"role": "assistant", "content": "Where?", "refusal": None},
                {"role": "tool", "content": "38.2", "tool_call_id": "call_1"},
            ],
            max_completion_tokens=9,
            temperature=0,
            top_p=0.5,
            seed=-1,
            n=2,
            stop="\n",
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert asked.turns == (
        Turn("system", "Be brief."),
        Turn("user", "It hurts"),
        Turn("assistant", "Where?"),
        Turn("user", "38.2"),
    )
    assert asked.how == Sampling(9, 0.0, 0.5, (1 << 62) - 1, 2)
    assert (asked.stop, asked.stream, asked.usage) == (("\n",), True, True)
    assert read_completion({"model": "tiny", "prompt": ["Once"], "max_tokens": 3}).turns == (Turn("", "Once"),)


def test_fields_that_name_people_or_ask_for_nothing_change_nothing():
    plain = read_chat(chat())
    assert read_chat(chat(**dict.fromkeys(DROPPED, "Mary"))) == plain
    assert read_chat(chat(**{name: values[-1] for name, values in ONLY.items()})) == plain


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"logit_bias": {"7": 1}}, "unsupported_parameter", "logit_bias"),
        ({"frequency_penalty": 0.5}, "unsupported_parameter", "frequency_penalty"),
        ({"Mary": 1}, "unknown_parameter", None),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": ["Mary"]}, "invalid_value", "messages[0]"),
        ({"messages": [{"role": "Mary", "content": "x"}]}, "invalid_value", "messages[0]"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "invalid_value", "messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{**USER, "tool_calls": [{"id": "x"}]}]}, "unsupported_message", "messages[0]"),
        ({"messages": [{**USER, "Mary": 1}]}, "unsupported_message", "messages[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "Mary"}}]}]},
            "unsupported_content",
            "messages[0].content",
        ),
        ({"messages": [{"role": ["Mary"], "content": "x"}]}, "invalid_value", "messages[0]"),
        ({"messages": [{"role": {}, "content": "x"}]}, "invalid_value", "messages[0]"),
        ({"temperature": 10**400}, "invalid_value", "temperature"),
        ({"temperature": float("nan")}, "invalid_value", "temperature"),
        ({"top_p": float("-inf")}, "invalid_value", "top_p"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": True}, "invalid_value", "max_tokens"),
        ({"temperature": 2.5}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_value", "temperature"),
        ({"top_p": 0}, "invalid_value", "top_p"),
        ({"n": 17}, "invalid_value", "n"),
        ({"seed": 0.5}, "invalid_value", "seed"),
        ({"stop": ["a"] * 5}, "invalid_value", "stop"),
        ({"stop": ""}, "invalid_value", "stop"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"stream_options": {"Mary": 1}}, "invalid_value", "stream_options"),
        ({"model": None}, "missing_required_parameter", "model"),
    ],
)
def test_what_cannot_work_is_refused_without_repeating_it(fields, code, param):
    with pytest.raises(RefusalError) as raised:
        read_chat(chat(**fields))
    assert (raised.value.status, raised.value.code, raised.value.param) == (400, code, param)
    assert "Mary" not in raised.value.said


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_refused(body):
    for read in (read_chat, read_completion):
        with pytest.raises(RefusalError, match="JSON object"):
            read(body)


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2, 3], [[1, 2]], None, 7])
def test_prompts_of_tokens_or_several_are_refused(prompt):
    with pytest.raises(RefusalError, match="one text"):
        read_completion({"model": "tiny", "prompt": prompt})


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "one"), ""),
        ("aaab", ("aab",), "a"),
        ("one tw", ("two",), "one tw"),
        ("one two", (), "one two"),
        ("a\n\nb", ("\n\n", "b"), "a"),
    ],
)
def test_a_text_ends_before_the_first_stop_however_it_comes(text, stops, shown, size):
    stopping = Stopping(stops)
    found = "".join(stopping.add(text[start : start + size]) for start in range(0, len(text), size))
    stopped = stopping.stopped
    assert found + stopping.finish() == shown
    assert stopped == (shown != text)
