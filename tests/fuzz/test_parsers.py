"""Whatever a file holds, a valid object or the user's error comes out of each parser, and nothing else, in time."""

import contextlib
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from del_audit.accounting.codes_file import load_codes
from del_audit.accounting.session_file import load_session
from del_audit.certificate.schema import require_schema, schema
from del_audit.certificate.verify import Verification, verify
from del_audit.certificate.verify_command import moment
from del_audit.configuration.configuration import Configuration, load_configuration
from mechanisms.canonical_json import canonical, parse_canonical
from mechanisms.client import ENCODER, CodeReleaser
from mechanisms.client_bundle import CARD, TOKENIZER, load_client, save_client_bundle
from mechanisms.client_certificate import UNCERTIFIED, date
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard, encoder_bytes, read_encoder
from mechanisms.errors import UserError
from mechanisms.keyring import public_key
from mechanisms.mechanism import ModelName
from mechanisms.registry import described
from mechanisms.rivals import CoarseWordsSpec, ProjectiveGeometrySpec
from mechanisms.rivals.client_half import SYMBOLS, SymbolReleaser
from mechanisms.rivals.clusters import symbols_bytes
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack, unpack

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "certificates"
CERTIFICATE = (FIXTURES / "certificate-5.json").read_bytes()
WHOLE = json.loads(CERTIFICATE)
CONFIGURATION = (ROOT / "examples" / "smollm2-reviews.yaml").read_bytes()
SESSION = b"parts:\n- {bits: 4, dim: 18, clip: 0.05, mu: 7.0, prompts: [12, 30], sends: 2}\n"
SPEC = QuantizerSpec(bits=3, dim=5, clip=0.05, scale=0.1)
MESSAGE = pack(np.arange(35, dtype=np.uint8).reshape(7, 5) % 8, SPEC)
TABLE = Encoder(np.arange(40, dtype=np.uint8).reshape(8, 5), SPEC.clip)
MAP = np.arange(20) % 7
COARSE = CoarseWordsSpec.over(ProjectiveGeometrySpec.from_epsilon(7, 2.0, 3, 3), MAP)
TRUSTED = {public_key(str(FIXTURES / "certificate-5.pub"))}
NOW = moment("2026-12-31")
PIECES = [
    b"&a ",
    b"*a",
    b"!!int ",
    b"!!timestamp x",
    b"? ",
    b"- ",
    b"{",
    b"[",
    b'"',
    b"\x00",
    b"\xff",
    b"~",
    b"\n",
    b":",
]
PIECES += [
    b"9" * 5_000,
    b"1e999",
    b"-0",
    b"0x" + b"f" * 50,
    b'"a":1,',
    b"\\ud800",
    b"[" * 300,
    b"\xef\xbb\xbf",
    b".nan",
]

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def spliced(text: bytes):
    """Returns a strategy of texts made of a good one by cutting and putting in, and of any bytes at all."""
    cut = st.tuples(st.integers(0, len(text)), st.integers(0, 30), st.binary(max_size=9) | st.sampled_from(PIECES))
    return st.lists(cut, max_size=4).map(lambda cuts: _cut(text, cuts)) | st.binary(max_size=200)


def _cut(text: bytes, cuts) -> bytes:
    for place, gone, piece in cuts:
        text = text[:place] + piece + text[place + gone :]
    return text


def edited(document):
    """Returns a strategy of documents in which one value is another."""
    places = list(_places(document))
    return st.tuples(st.sampled_from(places), PLAIN).map(lambda change: _edited(document, *change))


def _places(part, path=()):
    for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
        yield (*path, key)
        yield from _places(part[key], (*path, key))


def _edited(document, path, value):
    copy = json.loads(json.dumps(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def parse_json(_, data):
    assert canonical(parse_canonical(data, "card")) == data


def parse_certificate(_, data):
    found = verify(data, TRUSTED, NOW, recompute=False)
    assert isinstance(found, Verification)
    assert not found.valid or data == CERTIFICATE


def parse_schema(_, document):
    require_schema(parse_canonical(canonical(document), "certificate"))


def parse_configuration(folder, data):
    found = load_configuration(written(folder, data))
    assert isinstance(found, Configuration)
    canonical(found.model_dump(mode="json"))


def parse_described(folder, content):
    parse_configuration(folder, yaml.dump(content).encode("utf8", "surrogatepass"))


def parse_session(folder, data):
    assert load_session(written(folder, data))[0].parts


def parse_message(_, data):
    assert pack(unpack(data, SPEC), SPEC) == data


def parse_card(folder, data):
    written(folder, data, CARD)
    assert load_client(folder, certificate=UNCERTIFIED).spec


def parse_tokenizer(folder, data):
    card = json.loads((folder / CARD).read_bytes())
    card["sha256"][TOKENIZER] = hashlib.sha256(data).hexdigest()
    written(folder, json.dumps(card).encode(), CARD)
    written(folder, data, TOKENIZER)
    load_client(folder, certificate=UNCERTIFIED)


def parse_encoder(_, data):
    assert read_encoder(data, "file", SPEC)[0].dim == 5


def parse_description(_, record):
    spec = described(record)
    assert described(spec.to_dict()) == spec


def parse_map(folder, data):
    half = SymbolReleaser.read(COARSE, {SYMBOLS: data}, folder, ModelName("tiny", ""))
    assert np.array_equal(half.mechanism.symbols, MAP)


def parse_codes(folder, data):
    assert isinstance(load_codes(written(folder, data, "codes.npy"), SPEC), np.ndarray)


def parse_key(_, text):
    assert len(public_key(text)) == 32


def parse_date(_, text):
    assert date(text, "made").tzinfo
    assert moment(text).tzinfo


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((8, 5)))
    return stream.getvalue()


CARD_BYTES = json.dumps(
    {
        "format": "del-audit client 1",
        "model": "tiny",
        "model_sha256": "",
        "spec": SPEC.to_dict(),
        "max_tokens": 9,
        "sha256": {ENCODER: "0" * 64, TOKENIZER: "0" * 64},
    }
).encode()
PARSERS = {
    "json": (spliced(b'{"a":[1,2.5,"x",null,{"b":true}],"c":1e+30}') | PLAIN.map(repr).map(str.encode), parse_json),
    "certificate": (spliced(CERTIFICATE), parse_certificate),
    "schema": (edited(WHOLE), parse_schema),
    "configuration": (spliced(CONFIGURATION), parse_configuration),
    "described configuration": (edited(yaml.safe_load(CONFIGURATION)), parse_described),
    "session": (spliced(SESSION), parse_session),
    "message": (spliced(MESSAGE), parse_message),
    "card": (spliced(CARD_BYTES), parse_card),
    "described card": (
        edited(json.loads(CARD_BYTES)).map(lambda card: json.dumps(card, default=str).encode()),
        parse_card,
    ),
    "encoder": (spliced(encoder_bytes(TABLE, EncoderCard("tiny", "", SPEC))), parse_encoder),
    "description": (edited(COARSE.to_dict()) | PLAIN, parse_description),
    "map": (spliced(symbols_bytes(MAP)), parse_map),
    "codes": (spliced(_npy()), parse_codes),
    "key": (
        st.text() | st.text("0123456789abcdef", min_size=64, max_size=64) | st.text("AQ=/", min_size=44),
        parse_key,
    ),
    "date": (st.text() | st.datetimes().map(str) | st.text("0123456789-T:+Z."), parse_date),
}


def fuzz(name: str, folder: Path, examples: int) -> None:
    strategy, parse = PARSERS[name]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(max_examples=examples, deadline=2_000, suppress_health_check=checks)
    @given(strategy)
    def a_valid_object_or_the_users_error(data):
        with contextlib.suppress(UserError):
            parse(folder, data)

    a_valid_object_or_the_users_error()


@pytest.fixture
def folder(tmp_path, tiny_lm_folder):
    """Returns a client's folder, in which the files to parse lie as well."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_lm_folder / "tokenizer.json"))
    table = Encoder(np.zeros((384, 5), dtype=np.uint8), SPEC.clip)
    save_client_bundle(tmp_path / "client", CodeReleaser(table, SPEC), ModelName("tiny", ""), tokenizer, 9)
    return tmp_path / "client"


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_gives_a_valid_object_or_the_users_error(name, folder):
    fuzz(name, folder, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_gives_a_valid_object_or_the_users_error_in_a_long_run(name, folder):
    fuzz(name, folder, 1_500)


def test_a_tokenizer_that_is_none_is_refused(folder):
    for data in (b"", b"{}", b"\xff", b"[" * 10_000, b'{"version":"1.0"}', b"null", b'"' + b"x" * 10_000):
        with pytest.raises(UserError):
            parse_tokenizer(folder, data)


def test_the_schema_is_valid_json():
    assert schema()["title"]
