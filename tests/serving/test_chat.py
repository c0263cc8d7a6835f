"""The real client of OpenAI before the whole service: what it is told, what is sent, and what that costs."""

import asyncio

import openai
import pytest

from del_audit.serving.openai_requests import Turn
from del_audit.serving.server_app import Limits
from mechanisms.client_bundle import load_client

FIRST = "I took it for the pain in my knee"
SECOND = "and then I slept badly for a week"


def test_an_answer_streams_as_it_comes_whole(service):
    whole = service.chat(FIRST, temperature=0)
    text = whole.choices[0].message.content
    assert whole.model == "tiny"
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 6
    assert text

    async def streamed():
        async with service.openai() as client:
            options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "max_tokens": 6}
            parts = await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": FIRST}], **options
            )
            return [part async for part in parts]

    parts = asyncio.run(streamed())
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].usage.completion_tokens == 6
    assert [part.choices[0].finish_reason for part in parts if part.choices and part.choices[0].finish_reason] == [
        "length"
    ]
    fresh, again = service.wire
    assert fresh.segments[0].content != again.segments[0].content  # the same words, released afresh: answers may differ


def test_completions_go_on_with_a_text(service):
    async def asked():
        async with service.openai() as client:
            return await client.completions.create(model="tiny", prompt=FIRST, max_tokens=5, n=2, seed=3)

    found = asyncio.run(asked())
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.choices[0].text != found.choices[1].text
    (request,) = service.wire
    assert [segment.role for segment in request.segments] == [""]
    assert request.sampling.choices == 2


def test_nothing_leaves_in_clear_but_what_the_bundle_lists(service):
    service.chat(("system", service.system), ("developer", "Speak kindly."), FIRST)
    (request,) = service.wire
    assert [segment.role for segment in request.segments] == ["system", "system", "user"]
    assert request.segments[0].content == service.system
    assert all(isinstance(segment.content, bytes) for segment in request.segments[1:])
    assert service.system.encode() in service.bodies[0]
    for text in ("kindly", "knee"):
        assert text.encode() not in service.bodies[0]


def test_a_chat_of_twenty_turns_costs_the_sum_of_its_turns(service, deployment):
    tokens = load_client(deployment.bundle, accept_quick=True)._tokenizer
    said, expected = [], 0
    for number in range(20):
        said.append(("user", f"t{number}"))
        expected += len(tokens(said[-1][1]).input_ids)
        answer = service.chat(*said, max_tokens=1).choices[0].message.content
        said.append(("assistant", answer))
    assert len(service.wire) == 20
    assert all(len(request.segments) == 1 for request in service.wire)
    for earlier, later in zip(service.wire, service.wire[1:], strict=False):
        assert later.after == (earlier.exchange, 0)
    released = [segment.content for request in service.wire for segment in request.segments]
    assert len(set(released)) == 20
    assert service.spent == expected == sum(int.from_bytes(message[12:16], "little") for message in released)


def test_a_first_turn_a_regeneration_and_an_edit_are_released_afresh(service):
    answer = service.chat(FIRST).choices[0].message.content
    once = service.spent
    service.chat(FIRST)  # a new chat, or a regeneration: nobody may learn that it is the same text
    assert service.spent == 2 * once
    service.chat(FIRST.replace("knee", "back"), ("assistant", answer), SECOND)
    edited = service.wire[-1]
    assert edited.after is None
    assert [segment.role for segment in edited.segments] == ["user", "assistant", "user"]
    assert all(isinstance(segment.content, bytes) for segment in edited.segments)  # the answer too: of no such turn
    contents = [request.segments[0].content for request in service.wire]
    assert len(set(contents)) == 3


def test_an_answer_that_was_not_returned_here_is_released_like_any_text(service):
    service.chat(FIRST, ("assistant", "Take two of them."), SECOND)
    (request,) = service.wire
    assert request.after is None
    assert [isinstance(segment.content, bytes) for segment in request.segments] == [True, True, True]


def test_another_users_answer_is_nobody_elses(service):
    answer = service.chat(FIRST).choices[0].message.content
    asked = [Turn("user", FIRST)]
    conversations = service.proxy.conversations
    assert conversations.answered("", None, asked, answer) is not None
    assert conversations.answered("mary", None, asked, answer) is None


def test_an_idempotency_key_repeats_the_same_bits_and_costs_nothing(service):
    key = {"Idempotency-Key": "one"}
    service.chat(FIRST, headers=key)
    once = service.spent
    service.chat(FIRST, headers=key)
    assert service.spent == once
    assert service.wire[0] == service.wire[1]
    with pytest.raises(openai.ConflictError, match="used for another request"):
        service.chat(SECOND, headers=key)
    assert service.spent == once


def test_requests_of_one_key_at_once_are_one_release(service):
    async def asked():
        async with service.openai() as client:
            messages = [{"role": "user", "content": FIRST}]
            headers = {"Idempotency-Key": "one"}
            return await asyncio.gather(
                *(
                    client.chat.completions.create(model="tiny", messages=messages, max_tokens=2, extra_headers=headers)
                    for _ in range(4)
                )
            )

    assert len(asyncio.run(asked())) == 4
    assert len({segment.content for request in service.wire for segment in request.segments}) == 1
    assert service.spent == int.from_bytes(service.wire[0].segments[0].content[12:16], "little")


def test_a_client_that_is_refused_does_not_ask_again_by_itself(service):
    service.server.limits = Limits(open=0)

    async def asked():
        async with service.openai(max_retries=2) as client:
            return await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": FIRST}])

    with pytest.raises(openai.RateLimitError):
        asyncio.run(asked())
    assert len(service.wire) == 1


def test_a_text_is_sent_no_more_often_than_the_certificate_says(service):
    for _ in range(service.sends):
        service.chat(FIRST)
    spent = service.spent
    with pytest.raises(openai.RateLimitError, match="were sent 3 times before") as raised:
        service.chat(FIRST)
    assert raised.value.code == "insufficient_quota"
    assert service.spent == spent
    assert len(service.wire) == service.sends


def test_turns_of_one_request_are_charged_together_or_not_at_all(service):
    with pytest.raises(openai.BadRequestError, match="at most 48 tokens"):
        service.chat(FIRST, ("user", "word " * 90))
    assert service.spent == 0
    assert service.wire == []


def test_what_the_server_has_forgotten_is_sent_again_bit_for_bit(service):
    answer = service.chat(FIRST).choices[0].message.content
    spent = service.spent
    service.server.exchanges._kept.clear()
    service.chat(FIRST, ("assistant", answer), "more")
    first, refused, again = service.wire
    assert refused.after == (first.exchange, 0)
    assert again.after is None
    assert again.segments[0] == first.segments[0]
    assert again.segments[1].content == answer
    assert service.spent - spent < spent


def test_a_stop_ends_the_answer_here_and_stays_here(service):
    whole = service.chat(FIRST, temperature=0, max_tokens=12, headers={"Idempotency-Key": "stopped"})
    text = whole.choices[0].message.content
    middle = text[len(text) // 2]
    key = {"Idempotency-Key": "stopped"}
    cut = service.chat(FIRST, temperature=0, max_tokens=12, stop=[middle], headers=key)
    assert cut.choices[0].message.content == text[: text.index(middle)]
    assert cut.choices[0].finish_reason == "stop"
    assert service.bodies[0] == service.bodies[1]
