"""A client's folder of each mechanism over words: what it holds, what it releases, and what it refuses."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tokenizers import Tokenizer

import mechanisms
from mechanisms.client import Client, CodeReleaser
from mechanisms.client_bundle import load_client, save_client_bundle
from mechanisms.client_certificate import FORMAT, UNCERTIFIED
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.ledger import Ledger
from mechanisms.mechanism import NO_FILE, ClientHalf, ModelName
from mechanisms.randomness import SimulatedRandomness
from mechanisms.registry import MECHANISMS, client_half_of, described, mechanism_of
from mechanisms.rivals import (
    CoarseWords,
    CoarseWordsSpec,
    CusTextSpec,
    Points,
    ProjectiveGeometrySpec,
    RandomizedResponse,
    RandomizedResponseSpec,
    SanText,
    SanTextSpec,
    SubsetSelectionSpec,
)
from mechanisms.rivals.client_half import SYMBOLS, SymbolReleaser, WordReleaser
from mechanisms.rivals.clusters import symbols_bytes
from mechanisms.signed_document import raw_public_key, sign, signed_bytes
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Deployment
from mechanisms.tokens import tokenizer_sha256

WORDS, GROUPS, LOUD = 400, 90, 12.0
MODEL = ModelName("tiny", "ab" * 32)
MAP = np.random.default_rng(3).permutation(np.arange(WORDS) % GROUPS)
PROMPT = "The pain was gone within a week."
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {raw_public_key(KEY)}
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def plain_specs(words, epsilon):
    order = 23 if words > 100 else 11
    return (
        RandomizedResponseSpec.from_epsilon(words, epsilon),
        SubsetSelectionSpec.from_epsilon(words, epsilon, 3),
        ProjectiveGeometrySpec.from_epsilon(words, epsilon, order, 3),
    )


def halves(epsilon=LOUD):
    """Returns each kind's half, coarse words over each inner mechanism among them."""
    coarse = [CoarseWordsSpec.over(inner, MAP) for inner in plain_specs(GROUPS, epsilon)]
    return [
        *(WordReleaser.of(spec) for spec in plain_specs(WORDS, epsilon)),
        *(SymbolReleaser(CoarseWords(spec, MAP)) for spec in coarse),
    ]


NAMES = ["response", "sets", "points", "coarse response", "coarse sets", "coarse points"]
by_half = pytest.mark.parametrize("index", range(6), ids=NAMES)
by_coarse_half = pytest.mark.parametrize("index", range(3, 6), ids=NAMES[3:])


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    """Each test has a ledger of its own."""
    folder = tmp_path_factory.mktemp("records")
    folder.chmod(0o700)
    monkeypatch.setenv("DEL_AUDIT_STATE", str(folder))


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return Tokenizer.from_file(str(tiny_lm_folder / "tokenizer.json"))


@pytest.fixture
def saved(tmp_path, tokenizer):
    def save(half, name="client", model=MODEL):
        save_client_bundle(tmp_path / name, half, model, tokenizer, 3_000)
        return tmp_path / name

    return save


def rewritten(folder, name, data):
    """Puts other bytes into a folder, whose card names them."""
    (folder / name).write_bytes(data)
    card = json.loads((folder / "card.json").read_text())
    card["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def with_card(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_kind_with_a_half_is_here():
    kinds = {key for key, row in MECHANISMS.items() if row.client is not None}
    assert kinds == {"del", *(mechanism_of(half.spec).key for half in halves())}
    assert all(isinstance(half, ClientHalf) and type(half) is client_half_of(half.spec) for half in halves())
    with pytest.raises(UserError, match=r"small public files alone \(DEL, k-ary .*coarse words\), got CusText"):
        client_half_of(CusTextSpec(epsilon=1.0, words=9, groups="0" * 64, points="0" * 64))
    with pytest.raises(UserError, match="got int"):
        client_half_of(5)


@by_half
def test_the_folder_holds_the_description_and_no_more_than_is_needed(saved, index):
    half = halves()[index]
    folder = saved(half)
    public = {SYMBOLS} if index >= 3 else set()
    assert {path.name for path in folder.iterdir()} == {"card.json", "tokenizer.json", *public}
    card = json.loads((folder / "card.json").read_text())
    assert card["format"] == "del-audit client 2"
    assert card["spec"] == half.spec.to_dict()
    assert described(card["spec"]) == half.spec
    assert (card["model"], card["model_sha256"], card["max_tokens"]) == ("tiny", "ab" * 32, 3_000)
    assert set(card["sha256"]) == {"tokenizer.json", *public}
    assert half.sha256 == (half.spec.symbols if public else NO_FILE)


@by_half
def test_the_loaded_client_releases_what_its_mechanism_does(saved, tokenizer, index):
    half = halves()[index]
    loaded = load_client(saved(half), SimulatedRandomness(3), certificate=UNCERTIFIED)
    tokens = tokenizer.encode(PROMPT, add_special_tokens=False).ids
    assert loaded.spec == half.spec
    assert loaded.release(PROMPT) == half.mechanism.release(tokens, SimulatedRandomness(3))


@by_half
def test_releases_of_the_loaded_client_are_read_under_the_law(saved, index):
    """A loud release carries nearly all that it can of a uniform word; of another word it carries none."""
    half = halves()[index]
    client = load_client(saved(half), certificate=UNCERTIFIED)
    tokens = np.random.default_rng(5).integers(0, WORDS, 2_000)
    message = client.release_tokens(tokens.tolist())
    observed = half.mechanism.observed(message)
    assert len(observed) == len(tokens)
    gains, others = [], []
    for rows, scores in half.mechanism.scores(observed):
        law = scores.astype(np.float64)
        law -= np.log(np.exp(law).mean(axis=1, keepdims=True))
        places = np.arange(len(law))
        gains.append(law[places, tokens[rows]])
        others.append(law[places, (tokens[rows] + 201) % WORDS])
    gain, other = np.concatenate(gains).mean(), np.concatenate(others).mean()
    assert 0.95 * half.spec.capacity < gain < 1.02 * half.spec.capacity
    assert other < 0


@by_half
def test_every_release_is_fresh(saved, index):
    client = load_client(saved(halves(0.5)[index]), certificate=UNCERTIFIED)
    assert len({client.release(PROMPT) for _ in range(5)}) == 5


@by_half
def test_tokens_outside_the_vocabulary_are_refused_before_they_are_charged(saved, index):
    client = load_client(saved(halves()[index]), certificate=UNCERTIFIED)
    for tokens in ([], [WORDS], [-1], [1] * 3_001):
        with pytest.raises(UserError):
            client.release_tokens(tokens)
    assert client.charged == 0
    assert Ledger.of_user().summary(timedelta(days=1)).spent == ()
    assert client.release_tokens([WORDS - 1])
    assert client.charged == 1


def test_each_deployment_is_counted_by_itself(saved, tokenizer):
    """The same inner mechanism behind another map is another deployment, and so is the same mechanism elsewhere."""
    spec, other = plain_specs(GROUPS, LOUD)[0], np.roll(MAP, 1)
    cases = [
        (WordReleaser.of(plain_specs(WORDS, LOUD)[0]), MODEL),
        (WordReleaser.of(plain_specs(WORDS, LOUD)[0]), ModelName("tiny", "cd" * 32)),
        (SymbolReleaser(CoarseWords(CoarseWordsSpec.over(spec, MAP), MAP)), MODEL),
        (SymbolReleaser(CoarseWords(CoarseWordsSpec.over(spec, other), other)), MODEL),
    ]
    named = set()
    for index, (half, model) in enumerate(cases):
        load_client(saved(half, str(index), model), certificate=UNCERTIFIED).release(PROMPT)
        named.add(Deployment(half.spec, half.sha256, tokenizer_sha256(tokenizer), model.sha256).fingerprint)
    spent = Ledger.of_user().summary(timedelta(days=1)).spent
    assert {one.deployment for one in spent} == named
    assert [one.releases for one in spent] == [1] * len(cases)


@pytest.mark.parametrize("name", ["card.json", "tokenizer.json", SYMBOLS])
@pytest.mark.parametrize("change", ["cut", "flip", "remove"])
def test_a_damaged_folder_is_refused(saved, name, change):
    folder = saved(halves()[3])
    path = folder / name
    data = bytearray(path.read_bytes())
    if change == "cut":
        path.write_bytes(data[:-3])
    elif change == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with pytest.raises(UserError):
        load_client(folder, certificate=UNCERTIFIED)


@by_coarse_half
def test_a_map_that_is_not_the_descriptions_is_refused(saved, index):
    folder = saved(halves()[index])
    for symbols in (np.roll(MAP, 1), MAP[:-1], np.where(MAP == 0, GROUPS, MAP)):
        rewritten(folder, SYMBOLS, symbols_bytes(symbols))
        with pytest.raises(UserError, match="load the map that the spec was made over"):
            load_client(folder, certificate=UNCERTIFIED)
    rewritten(folder, SYMBOLS, b"no tensors")
    with pytest.raises(UserError, match=rf"{SYMBOLS}' to hold a map of words to symbols"):
        load_client(folder, certificate=UNCERTIFIED)


RESPONSE = {"kind": "randomized response", "words": WORDS, "weight": 1 << 40}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "del-audit client 1"}, "format 'del-audit client 2', got 'del-audit client 1'"),
        ({"format": "del-audit client 3"}, "got 'del-audit client 3': it is damaged, or a later version"),
        ({"spec": {**RESPONSE, "kind": "telepathy"}}, "kind of a mechanism among del, .*got 'telepathy'"),
        (
            {"spec": {"kind": "custext", "words": 9, "groups": "0" * 64, "epsilon": 1.0, "points": "0" * 64}},
            "got CusText",
        ),
        ({"spec": {**RESPONSE, "weight": 0}}, "weight"),
        ({"spec": {**RESPONSE, "weight": 1.5}}, "weight"),
        ({"spec": {**RESPONSE, "more": 1}}, "description of k-ary randomised response"),
        ({"spec": list(RESPONSE.items())}, "to be an object, got list"),
        ({"spec": None}, "to be an object, got NoneType"),
        ({"spec": {**RESPONSE, "words": 20}}, r"at least \d+ words, the tokenizer's of 'tiny', got 20"),
        ({"spec": QuantizerSpec(4, 6, 0.05, 0.1).to_dict()}, "format 'del-audit client 1', got 'del-audit client 2'"),
        ({"max_tokens": None}, "describe a client"),
        ({"sha256": {}}, "damaged"),
        ({"sha256": 5}, "describe a client"),
    ],
)
def test_a_card_that_says_something_else_is_refused(saved, changes, reason):
    folder = saved(WordReleaser.of(RandomizedResponseSpec(WORDS, 1 << 40)))
    assert load_client(folder, certificate=UNCERTIFIED)
    with_card(folder, **changes)
    with pytest.raises(UserError, match=reason):
        load_client(folder, certificate=UNCERTIFIED)


@pytest.mark.parametrize("symbols", [5, "", "0" * 63, "0" * 64 + "\n", "G" * 64])
def test_the_hash_of_a_map_is_a_hash(saved, symbols):
    folder = saved(halves()[3])
    with_card(folder, spec={**json.loads((folder / "card.json").read_text())["spec"], "symbols": symbols})
    with pytest.raises(UserError, match="symbols to be 64 hex digits"):
        load_client(folder, certificate=UNCERTIFIED)


def test_a_mechanism_over_fewer_words_than_the_tokenizer_has_is_not_written(tmp_path, tokenizer):
    few = tokenizer.get_vocab_size() - 1
    with pytest.raises(UserError, match=rf"at least {few + 1} words, .*got {few}: it was described for another voc"):
        save_client_bundle(tmp_path / "client", WordReleaser.of(plain_specs(few, LOUD)[0]), MODEL, tokenizer, 60)
    assert not list(tmp_path.iterdir())


def test_what_no_folder_can_hold_is_not_written(tmp_path, tokenizer):
    spec = plain_specs(WORDS, LOUD)[0]
    coarse = CoarseWords(CoarseWordsSpec.over(plain_specs(GROUPS, LOUD)[0], MAP), MAP)
    points = Points(np.eye(WORDS))
    for half, said in (
        (RandomizedResponse(spec), "half to be a WordReleaser, got RandomizedResponse"),
        (WordReleaser(coarse), "half to be a SymbolReleaser, got WordReleaser"),
        (SanText(SanTextSpec.over(points, 1.0), points), r"small public files alone \(DEL, .*got SanText"),
    ):
        with pytest.raises(UserError, match=said):
            save_client_bundle(tmp_path / "client", half, MODEL, tokenizer, 60)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_del_is_written_as_ever(tmp_path, tokenizer):
    """Byte for byte, so that one of an earlier version is this one: what earlier versions wrote is spelt out here."""
    encoder = Encoder(np.random.default_rng(0).integers(0, 255, (384, 6), dtype=np.uint8), 0.05)
    half = CodeReleaser(encoder, QuantizerSpec(4, 6, 0.05, 0.1), {"configuration": "tiny"})
    save_client_bundle(tmp_path / "client", half, MODEL, tokenizer, 60)
    codes = (tmp_path / "client" / "encoder.safetensors").read_bytes()
    assert hashlib.sha256(codes).hexdigest() == "0b32464e3e31b7f99d66ee1a9170a70c53bede827adf76a028731b1b008d5f7c"
    hashes = [hashlib.sha256(data).hexdigest() for data in (codes, tokenizer.to_str().encode())]
    assert (tmp_path / "client" / "card.json").read_text() == (
        '{\n  "format": "del-audit client 1",\n  "max_tokens": 60,\n  "model": "tiny",\n'
        f'  "model_sha256": "{"ab" * 32}",\n  "sha256": {{\n    "encoder.safetensors": "{hashes[0]}",\n'
        f'    "tokenizer.json": "{hashes[1]}"\n  }},\n'
        '  "spec": {\n    "bits": 4,\n    "clip": 0.05,\n    "dim": 6,\n    "scale": 0.1\n  }\n}'
    )
    deployment = Deployment(half.spec, encoder.sha256, "t", "m").fingerprint
    assert deployment == "7b36f6d97956e5b9ae684258b57e06046331d3776d8b7b81f0e04a8e9bd42e2f"


@by_half
def test_a_client_starts_and_sends_without_torch_transformers_scikit_learn_or_scipy(saved, index):
    folder = saved(halves()[index])
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sklearn', 'scipy', 'datasets'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from mechanisms.client_bundle import load_client\n"
        "from mechanisms.client_certificate import UNCERTIFIED\n"
        f"print(len(load_client(Path({str(folder)!r}), certificate=UNCERTIFIED).release({PROMPT!r})))\n"
    )
    root = Path(mechanisms.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 16


def test_del_does_not_wait_for_the_other_mechanisms(tmp_path, tokenizer):
    encoder = Encoder(np.zeros((384, 6), dtype=np.uint8), 0.05)
    save_client_bundle(tmp_path / "client", CodeReleaser(encoder, QuantizerSpec(4, 6, 0.05, 0.1)), MODEL, tokenizer, 9)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mechanisms.client_bundle import load_client\n"
        "from mechanisms.client_certificate import UNCERTIFIED\n"
        f"assert load_client(Path({str(tmp_path / 'client')!r}), certificate=UNCERTIFIED).release('a')\n"
        "sys.exit('mechanisms.rivals' in sys.modules)\n"
    )
    root = Path(mechanisms.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert run.returncode == 0, run.stderr


def certificate_of(half, tokenizer, **hashes):
    """Returns the body of a certificate of a half's client; 64-bit numbers are text there."""
    return {
        "format": FORMAT,
        "verdict": "certified",
        "made": "2026-11-01T00:00:00+00:00",
        "expires": "2027-11-01T00:00:00+00:00",
        "spec": {name: str(v) if isinstance(v, int) and v >= 2**53 else v for name, v in half.spec.to_dict().items()},
        "hashes": {
            "spec": half.spec.fingerprint.hex(),
            "encoder": half.sha256,
            "tokenizer": tokenizer_sha256(tokenizer),
            "model": MODEL.sha256,
            **hashes,
        },
        "configuration": {
            "policy": {
                "assurance": "full",
                "sends": 1,
                "prompt_tokens": 48,
                "session_days": 30,
                "epsilon": [{"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60}],
            }
        },
    }


@by_half
def test_a_certificate_of_this_client_lets_it_send_and_another_does_not(tmp_path, tokenizer, index):
    half, stranger = halves()[index], halves(11.0)[index]
    certificate = signed_bytes(sign(certificate_of(half, tokenizer), KEY))
    save_client_bundle(tmp_path / "client", half, MODEL, tokenizer, 60, certificate, TRUSTED)
    client = load_client(tmp_path / "client", trusted=TRUSTED, at=NOW)
    assert client.release(PROMPT)
    with pytest.raises(UserError, match="were sent 1 times before"):
        client.release(PROMPT)
    for body, said in (
        (certificate_of(stranger, tokenizer), "it is not this client's"),
        (certificate_of(half, tokenizer, encoder="0" * 64), f"of the encoder {half.sha256[:12]}, got one of 000000"),
        (certificate_of(half, tokenizer, spec="0" * 64), "it is not this client's"),
        ({**certificate_of(half, tokenizer), "spec": {"kind": "telepathy"}}, "lacks or misuses it: Expected the kind"),
    ):
        (tmp_path / "other.json").write_bytes(signed_bytes(sign(body, KEY)))
        with pytest.raises(UserError, match=said):
            load_client(tmp_path / "client", certificate=tmp_path / "other.json", trusted=TRUSTED, at=NOW)


def test_a_client_put_together_by_hand_knows_its_words():
    client = Client(None, WordReleaser.of(plain_specs(WORDS, LOUD)[0]), 100, SimulatedRandomness(0))
    with pytest.raises(UserError, match=rf"tokens in 0..{WORDS - 1}, got {WORDS}"):
        client.release_tokens([WORDS])
    assert client.charged == 0
