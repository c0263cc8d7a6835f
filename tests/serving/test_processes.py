"""The service as its users start it: what a capture of the wire holds, and what a kill at any moment leaves."""

import base64
import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import Relay, free_port, started
from tiny_service import SYSTEM, certified_service

from del_audit.serving.conversations import Conversations
from mechanisms.client_bundle import load_client
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.ledger import Ledger
from mechanisms.models import load_embedding_table
from mechanisms.randomness import simulation_generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment(tiny_lm_folder, tiny_bert_folder, tmp_path_factory):
    """Returns a service whose allowance is large."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("generous")
        return certified_service(
            folder, tiny_lm_folder, tiny_bert_folder, patched.setenv, sends=3, session_tokens=100_000
        )


@pytest.fixture(scope="module")
def served(deployment):
    """Returns the port of a server that runs for all tests of this file."""
    port = free_port()
    arguments = ["serve", str(deployment.config), "--certificate", str(deployment.certificate)]
    with started(arguments, port, deployment.state) as process:
        yield port, process


@pytest.fixture
def relay(served):
    made = Relay(free_port(), served[0])
    yield made
    made.close()


@pytest.fixture
def proxied(deployment, relay, tmp_path):
    """Returns a context in which a proxy runs before the relay, and its port; plant: Python that runs in it first."""
    state = {**deployment.state, "DEL_AUDIT_STATE": str(tmp_path / "state")}
    port = free_port()

    def run(plant=""):
        arguments = ["proxy", str(deployment.bundle), "--upstream", f"http://127.0.0.1:{relay.port}"]
        return started(arguments, port, state, plant)

    run.port, run.state = port, tmp_path / "state"
    return run


def post(port, body, headers=None):
    return httpx2.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, headers=headers, timeout=60)


def chat(text, **fields):
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 3, **fields}


def crossed(relay):
    """Returns the tokens of every released message that crossed the wire, each time that it did."""
    return [
        int.from_bytes(segment.content[12:16], "little")
        for request in relay.requests
        for segment in request.segments
        if isinstance(segment.content, bytes)
    ]


def different(relay):
    messages = {s.content for r in relay.requests for s in r.segments if isinstance(s.content, bytes)}
    return sum(int.from_bytes(message[12:16], "little") for message in messages)


def spent(folder):
    return sum(each.tokens for each in Ledger(folder / "ledger.sqlite").summary(timedelta(days=1)).spent)


def encodings(word, tokens, table):
    """Yields every form in which a word could be told by bytes."""
    yield word.encode()
    yield word.lower().encode()
    for form in ("utf-16-le", "utf-16-be", "utf-32-le"):
        yield word.encode(form)
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + word.encode())[4 if shift else 0 : -4]
    yield word.encode().hex().encode()
    yield json.dumps(word)[1:-1].encode()
    for width in ("<i4", "<i8", ">i4"):
        yield np.array(tokens, width).tobytes()
    for row in table[tokens]:
        for width in ("<f4", "<f2"):
            yield row[:8].astype(width).tobytes()


def test_a_capture_holds_not_one_planted_word(deployment, proxied, relay):
    client = load_client(deployment.bundle, certificate=UNCERTIFIED)
    table = load_embedding_table(str(deployment.config.parent / "model"))
    generator = simulation_generator(1, "planted")
    planted = [_planted(generator) for _ in range(200)]
    with proxied() as process:
        for words in planted:
            fields = {
                "user": words[0],
                "metadata": {"name": words[1]},
                "stop": [words[2]],
                "safety_identifier": words[3],
            }
            fields["safety_identifier"] = words[3]
            headers = {"User-Agent": words[4], "Idempotency-Key": words[5], "X-Person": words[6]}
            messages = [
                {"role": "developer", "content": SYSTEM},
                {"role": "system", "content": words[7], "name": words[8]},
                {"role": "user", "content": f"I am {words[9]}"},
                {"role": "assistant", "content": f"Hello {words[10]}"},
                {"role": "tool", "content": words[11], "tool_call_id": words[12]},
                {"role": "user", "content": [{"type": "text", "text": words[13]}]},
            ]
            response = post(proxied.port, {"model": "tiny", "max_tokens": 1, "messages": messages, **fields}, headers)
            assert response.status_code == 200, response.text
        refused = post(proxied.port, {**chat("x"), "response_format": {"type": words[0]}}, {"User-Agent": words[4]})
        assert refused.status_code == 400
    captured = relay.whole
    assert len(relay.requests) == 200
    assert captured.count(SYSTEM.encode()) == 200  # the bundle lists it: what is sent in clear is found
    for word in (word for words in planted for word in words):
        tokens = client._tokenizer(word, add_special_tokens=False).input_ids
        for form in encodings(word, tokens, table):
            assert len(form) >= 4
            assert form not in captured, word
    logs = b"".join(process.said).decode()
    assert not [word for words in planted for word in words if word in logs]


def _planted(generator):
    return ["".join(generator.choice(list("bcdfghjklmnpqrstvwxz"), 9)) for _ in range(14)]


STEPS = {
    "before the charge": "from mechanisms.ledger import Account\nAccount.charge = lambda *_: die()",
    "after the charge": (
        "from mechanisms.ledger import Account\ncharge = Account.charge\n"
        "Account.charge = lambda *all: (charge(*all), die())"
    ),
    "after the draw": (
        "from del_audit.serving.conversations import Conversations\nConversations.keep = lambda *_: die()"
    ),
    "before it is sent": (
        "from del_audit.serving.conversations import Conversations\nkeep = Conversations.keep\n"
        "Conversations.keep = lambda *all: (keep(*all), die())"
    ),
    "while it answers": "from del_audit.serving import proxy_app\nproxy_app._Answering._shown = lambda *_: die()",
}
DIE = "import os, signal\ndie = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.parametrize("step", STEPS)
def test_a_proxy_that_is_killed_counts_what_it_sent(proxied, relay, step):
    key = {"Idempotency-Key": "one"}
    text = "I took it for the pain in my knee"
    with proxied(DIE + STEPS[step]) as process:
        with pytest.raises(httpx2.HTTPError):
            post(proxied.port, chat(text), key)
        assert process.wait(10) == -signal.SIGKILL
    before, sent = spent(proxied.state), different(relay)
    assert before >= sent
    with proxied():
        assert post(proxied.port, chat(text), key).status_code == 200
    after = spent(proxied.state)
    assert after >= different(relay)
    if step in ("before it is sent", "while it answers"):
        assert after == before  # the key repeats the bits that were kept
        assert len(set(crossed(relay))) == 1
        assert different(relay) == before
    else:
        assert sent == 0
        assert after - before == different(relay)


def test_a_server_that_is_killed_while_it_answers_ends_the_answer_with_an_error(deployment, proxied, tmp_path):
    port = free_port()
    arguments = ["serve", str(deployment.config), "--certificate", str(deployment.certificate)]
    state = {**deployment.state, "DEL_AUDIT_STATE": str(tmp_path / "state")}
    with started(arguments, port, state) as server:
        own = free_port()
        upstream = ["proxy", str(deployment.bundle), "--upstream", f"http://127.0.0.1:{port}"]
        with started(upstream, own, state):
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{own}/v1", api_key="x", max_retries=0)
            messages = [{"role": "user", "content": "It hurts"}]
            stream = client.chat.completions.create(
                model="tiny", messages=messages, max_tokens=200, stream=True, temperature=1.3
            )
            next(iter(stream))
            server.kill()
            with pytest.raises(openai.APIError, match=r"cut off|cannot be reached"):
                list(stream)
            with pytest.raises(openai.APIStatusError) as raised:
                client.chat.completions.create(model="tiny", messages=messages)
            assert (raised.value.status_code, raised.value.code) == (502, "upstream_failed")


def test_a_full_disk_sends_nothing(proxied, relay, tmp_path):
    plant = "import resource\nlimit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    plant += "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    plant += "from del_audit.serving import releasing\nreal = releasing.Releasing.outgoing\n"
    plant += "releasing.Releasing.outgoing = lambda *all: (limit(), real(*all))[1]\n"
    with proxied(plant) as process:
        response = post(proxied.port, chat("It hurts"))
        assert response.status_code in (400, 500, 503)
        assert "hurts" not in response.text
        assert process.poll() is None
    assert crossed(relay) == []


def test_readers_who_leave_or_wait_free_what_they_took(served, proxied, relay):
    port, _ = served
    with proxied():
        for _ in range(5):
            with httpx2.stream(
                "POST",
                f"http://127.0.0.1:{proxied.port}/v1/chat/completions",
                json=chat("It hurts", stream=True, max_tokens=200, temperature=1.5),
                timeout=30,
            ) as response:
                next(response.iter_bytes())
        assert post(proxied.port, chat("and now")).status_code == 200
        for _ in range(100):
            page = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
            if "del_audit_server_requests_open 0.0" in page:
                break
            time.sleep(0.1)
        assert "del_audit_server_requests_open 0.0" in page


def test_a_restart_forgets_no_allowance_and_no_conversation(proxied, relay):
    with proxied():
        answer = post(proxied.port, chat("It hurts", max_tokens=4)).json()["choices"][0]["message"]["content"]
    once = spent(proxied.state)
    messages = [
        {"role": "user", "content": "It hurts"},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "still"},
    ]
    with proxied():
        assert post(proxied.port, {"model": "tiny", "messages": messages, "max_tokens": 2}).status_code == 200
    assert spent(proxied.state) - once < once
    assert relay.requests[-1].after == (relay.requests[0].exchange, 0)
    assert Conversations(proxied.state / "conversations.sqlite").of(relay.requests[0].exchange) is not None
    assert os.stat(proxied.state / "conversations.sqlite").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_service_that_is_told_to_stop_ends_as_its_help_says(deployment, proxied, sent, code):
    arguments = ["serve", str(deployment.config), "--certificate", str(deployment.certificate)]
    with started(arguments, free_port(), deployment.state) as server, proxied() as proxy:
        for process in (proxy, server):
            process.send_signal(sent)
            assert process.wait(30) == code, b"".join(process.said).decode()
