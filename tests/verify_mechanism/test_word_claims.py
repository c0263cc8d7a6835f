"""Word mechanisms through the command: claims from a record, every connection, the report, and what is refused."""

import base64
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from del_audit.cli import main
from del_audit.evidence.verification.words import WordLaw
from del_audit.verify_mechanism.json_client import read_answer
from del_audit.verify_mechanism.target import NoAnswer
from del_audit.verify_mechanism.word_clients import JsonWordClient, json_client, own_word_client
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness, SystemRandomness
from mechanisms.rivals import (
    CoarseWordsSpec,
    GaussianSpec,
    ProjectiveGeometrySpec,
    RandomizedResponseSpec,
    SubsetSelectionSpec,
)
from mechanisms.rivals.clusters import save_symbols
from mechanisms.spec import QuantizerSpec

RESPONSE = RandomizedResponseSpec.from_epsilon(40, 3.0)
SUBSETS = SubsetSelectionSpec.from_epsilon(40, 3.0, size=2)
POINTS = ProjectiveGeometrySpec.from_epsilon(40, 3.0, order=3, dimension=4)
MAP = np.arange(80) % 40
FUNCTIONS = """
import numpy as np

CHARGED = [0]
COPIED = np.random.default_rng()


def release(tokens, chance={chance!r}, words=40, rng=None):
    if not len(tokens) or tokens.min() < 0 or tokens.max() >= words:
        raise ValueError("no prompt of words")
    CHARGED[0] += len(tokens)
    rng = rng or np.random.default_rng()
    other = rng.integers(0, words - 1, len(tokens))
    return np.where(rng.random(len(tokens)) < chance, tokens, other + (other >= tokens))


def charged():
    return CHARGED[0]


def loud(tokens):
    return release(tokens, 0.9)


def copied(tokens):
    return release(tokens, rng=COPIED)


def unchecked(tokens):
    return release(np.clip(tokens, 0, 39)) if len(tokens) else tokens
"""
PROGRAM = """
import json
import sys
from random import Random

RNG = Random()


def one(token, words=40):
    other = RNG.randrange(words - 1)
    return token if RNG.random() < {chance!r} else other + (other >= token)


for line in sys.stdin:
    tokens = json.loads(line)["tokens"]
    good = tokens and all(0 <= token < 40 for token in tokens)
    print(json.dumps({{"observed": [one(token) for token in tokens]}} if good else {{"error": "no words"}}), flush=True)
"""


@pytest.fixture
def claimed(tmp_path):
    """Returns a writer of a record, as the arguments of its claim."""

    def write(spec, symbols=None) -> tuple[str, ...]:
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec.to_dict()))
        if symbols is None:
            return ("--spec", str(path))
        save_symbols(tmp_path / "symbols.safetensors", symbols)
        return ("--spec", str(path), "--symbols", str(tmp_path / "symbols.safetensors"))

    return write


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "client.py"
    path.write_text(FUNCTIONS.format(chance=float(RESPONSE.chance)))
    return path


@pytest.mark.parametrize("inner", [RESPONSE, SUBSETS, POINTS], ids=["words", "sets", "points"])
def test_the_own_client_of_each_mechanism_passes(verify, claimed, inner):
    for spec, symbols in ((inner, None), (CoarseWordsSpec.over(inner, MAP), MAP)):
        ran = verify(claim=claimed(spec, symbols))
        assert ran.code == 0, ran.rejected
        assert ran.document["spec"] == spec.to_dict()
        assert set(ran.not_tested) == {"tokenizer"}
        assert ran.finding("message", "form")["p_value"] == 1.0
        assert ran.finding("resending", "charged")["p_value"] == 1.0
        claim = ran.document["epsilon"]["claimed"]
        assert claim["lower"] <= 3.0 <= claim["upper"] + 1e-3
        assert ran.document["detects"]["swept"] >= 1


def test_the_record_of_the_quantizer_is_a_claim_too(verify, claimed):
    spec = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
    ran = verify(claim=claimed(spec))
    assert ran.code == 0
    assert ran.document["spec"] == spec.to_dict()
    assert "scale_error" in ran.document["detects"]


def test_a_python_function(verify, claimed, functions):
    ran = verify("--python", f"{functions}:release", "--charged", "charged", claim=claimed(RESPONSE))
    assert ran.code == 0, ran.rejected
    assert ran.not_tested == {"message": "nothing was given to test"}
    loud = verify("--python", f"{functions}:loud", claim=claimed(RESPONSE))
    assert loud.code == 1
    assert "law: chance" in loud.rejected
    copied = verify("--python", f"{functions}:copied", claim=claimed(RESPONSE))
    assert copied.rejected == {"independence: processes"}
    unchecked = verify("--python", f"{functions}:unchecked", claim=claimed(RESPONSE))
    assert unchecked.rejected == {"contract: refused"}


def test_a_program(verify, claimed, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(chance=float(RESPONSE.chance)))
    ran = verify("--command", f"{sys.executable} {path}", claim=claimed(RESPONSE))
    assert ran.code == 0, ran.rejected
    assert ran.not_tested["message"] == "the program answers with observed, no messages"
    path.write_text(PROGRAM.format(chance=0.9))
    assert "law: chance" in verify("--command", f"{sys.executable} {path}", claim=claimed(RESPONSE)).rejected


def test_a_server_that_answers_with_messages(verify, claimed):
    law = WordLaw.of(SUBSETS)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            tokens = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["tokens"]
            try:
                message = law.mechanism.release(tokens, SystemRandomness())
                status, answer = 200, {"message": base64.b64encode(message).decode()}
            except UserError as error:
                status, answer = 400, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments):
            pass

    @contextmanager
    def serving():
        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    with serving() as url:
        ran = verify("--http", url, "--trials", "300", claim=claimed(SUBSETS))
    assert ran.code == 0, ran.rejected
    assert set(ran.not_tested) == {"processes", "resending, charged"}
    assert ran.finding("message", "form")["p_value"] == 1.0


def test_the_table(claimed, functions, capsys):
    claim = [*claimed(CoarseWordsSpec.over(RESPONSE, MAP), MAP), "--trials", "600", "--alpha", "1e-6"]
    assert main(["verify-mechanism", *claim]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        "coarse words of 80 words by randomized response of 40 symbols",
        "epsilon 3.000 nats a token",
        "by errors of tests between two words",
        "words were tried one by one",
        "PASSED",
    ):
        assert text in printed
    assert main(["verify-mechanism", *claimed(RESPONSE), *claim[-4:], "--python", f"{functions}:loud"]) == 1
    assert "FAULT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--bits", "4"), "--spec or another claim, got --spec and --bits"),
        (("--config", "c.yaml"), "--spec or another claim, got --spec and --config"),
        (("--bundle", "client"), "--bundle with a claim of the n-bit quantizer, got one of randomized response"),
        (("--python", "a:b", "--replay", "c"), "--replay with a claim of the n-bit quantizer"),
        (("--trials", "10"), "trials to be a whole number >= 200"),
    ],
)
def test_options_that_do_not_go_with_a_claim_of_words(verify, claimed, arguments, says):
    ran = verify(*arguments, claim=claimed(RESPONSE))
    assert ran.code == 2
    assert says in ran.error
    assert ran.document == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "to hold JSON"),
        ("[1]", "to hold an object, got list"),
        ('{"kind": "nothing"}', "kind of a mechanism among"),
        ('{"kind": "randomized response", "words": 40}', "description of k-ary randomised response"),
        ('{"kind": "randomized response", "words": 40, "weight": 0}', "weight to be a whole number"),
        (json.dumps(CoarseWordsSpec.over(RESPONSE, MAP).to_dict()), "give --symbols FILE"),
    ],
)
def test_records_that_are_none(verify, tmp_path, text, says):
    path = tmp_path / "spec.json"
    path.write_text(text)
    ran = verify(claim=("--spec", str(path)))
    assert ran.code == 2
    assert says in ran.error


def test_claims_that_have_no_battery_and_maps_of_others(verify, claimed, tmp_path):
    assert "DEL, randomized response" in verify(claim=claimed(GaussianSpec(4, 6, 1.0, 1.0, 1.0))).error
    assert verify(claim=("--spec", str(tmp_path / "nowhere.json"))).code == 2
    assert "--symbols with --spec only" in verify("--symbols", tmp_path / "s").error
    assert (
        "coarse words alone, got the record of DEL"
        in verify(claim=claimed(QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1), MAP)).error
    )
    assert "coarse words alone, got one with randomized response" in verify(claim=claimed(RESPONSE, MAP)).error
    other = claimed(CoarseWordsSpec.over(RESPONSE, MAP), MAP[::-1].copy())
    assert "Expected the symbols of 80 words" in verify(claim=other).error


def test_requests_are_equally_long_and_answers_are_read():
    asked = []

    def exchange(request, limit):
        asked.append(request)
        return b'{"observed": [[1, 2], [3, 4]]}'

    client = json_client(WordLaw.of(SUBSETS), exchange)
    assert isinstance(client, JsonWordClient)
    assert client.release(np.array([0, 39])).tolist() == [[1, 2], [3, 4]]
    client.release(np.array([5, 6]))
    assert len(asked[0]) == len(asked[1])
    assert json.loads(asked[0]) == {"tokens": [0, 39]}
    client.release(np.zeros(0, dtype=np.int64))
    assert json.loads(asked[2]) == {"tokens": []}
    assert read_answer(b'{"observed": [1, 2]}', "observed").tolist() == [1, 2]
    for wrong in (b'{"counts": [1]}', b'{"observed": [1, [2]]}', b'{"observed": [true]}', b'{"observed": 1}'):
        with pytest.raises(NoAnswer):
            read_answer(wrong, "observed")


def test_a_message_for_what_is_no_prompt_is_no_refusal():
    law = WordLaw.of(RESPONSE)
    message = law.mechanism.release([1, 2], SimulatedRandomness(0))
    answers = [json.dumps({"message": base64.b64encode(data).decode()}).encode() for data in (message, b"no message")]
    client = json_client(law, lambda request, limit: answers[0])
    assert client.release(np.array([1, 2])).shape == (2,)
    client = json_client(law, lambda request, limit: answers[1])
    assert client.release(np.array([-1])) == b"no message"
    with pytest.raises(UserError):
        client.release(np.array([1]))


def test_an_empty_prompt_is_not_charged():
    with own_word_client(WordLaw.of(RESPONSE)) as target:
        assert target.release(np.array([1, 2, 3])).shape == (3,)
        with pytest.raises(UserError):
            target.release(np.zeros(0, dtype=np.int64))
        assert target.charged() == 3
