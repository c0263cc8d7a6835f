import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mechanisms
from mechanisms.client import Client, CodeReleaser
from mechanisms.client_bundle import PROBE, PlainTokenizer, load_client, save_client_bundle
from mechanisms.client_certificate import UNCERTIFIED
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import ModelName
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import unpack

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
MODEL = ModelName("tiny", "ab" * 32)
TEXTS = ["The pain was gone within a week.", PROBE, " ", "a", "<|endoftext|>", "\u00e9\u4e1c\U0001f600\x00\n\n  x"]


@pytest.fixture(scope="module")
def encoder():
    return Encoder(np.random.default_rng(0).integers(0, 255, (384, 6), dtype=np.uint8), SPEC.clip)


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_lm_folder)


@pytest.fixture
def folder(tmp_path, encoder, tokenizer):
    save_client_bundle(tmp_path / "client", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60)
    return tmp_path / "client"


def test_the_folder_holds_three_files_and_nothing_lies_beside_it(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "encoder.safetensors", "tokenizer.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["client"]
    card = json.loads((folder / "card.json").read_text())
    assert QuantizerSpec(**card["spec"]) == SPEC
    assert (card["model"], card["model_sha256"], card["max_tokens"]) == ("tiny", "ab" * 32, 60)


def test_the_loaded_client_releases_what_the_full_one_does(folder, encoder, tokenizer):
    loaded = load_client(folder, SimulatedRandomness(3), certificate=UNCERTIFIED)
    full = Client(tokenizer, CodeReleaser(encoder, SPEC), 60, SimulatedRandomness(3))
    assert loaded.spec == SPEC
    for text in TEXTS:
        assert loaded.release(text) == full.release(text)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_the_models_tokenizer(folder, tokenizer, text):
    plain = PlainTokenizer.of((folder / "tokenizer.json").read_text(encoding="utf8"))
    assert plain(text).input_ids == tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.assets
def test_tokens_are_those_of_a_real_models_tokenizer(packaged):
    from mechanisms.models import load_tokenizer

    packaged("package:smollm2-135m-instruct")
    real = load_tokenizer("package:smollm2-135m-instruct")
    plain = PlainTokenizer.of(real.backend_tokenizer.to_str())
    assert plain.words <= 49_152
    for text in [*TEXTS, "<|im_start|>user\nIn 1984, 12345.678 mg\u00b2!<|im_end|>", "don't  CAN'T\t\r\n" * 9]:
        assert plain(text).input_ids == real(text, add_special_tokens=False).input_ids


def test_a_tokenizer_that_cuts_and_pads_is_stopped_from_it(tmp_path, encoder, tokenizer):
    inner = PlainTokenizer.of(tokenizer.backend_tokenizer.to_str()).tokenizer
    inner.enable_truncation(3)
    inner.enable_padding(length=50)
    save_client_bundle(tmp_path / "client", CodeReleaser(encoder, SPEC), MODEL, inner, 60)
    message = load_client(tmp_path / "client", certificate=UNCERTIFIED).release(TEXTS[0])
    assert len(unpack(message, SPEC)) == len(tokenizer(TEXTS[0]).input_ids) != 50


def test_every_release_is_fresh(folder):
    client = load_client(folder, certificate=UNCERTIFIED)
    assert len({client.release("the same") for _ in range(10)}) == 10


def test_the_longest_prompt_is_the_cards(folder):
    client = load_client(folder, certificate=UNCERTIFIED)
    client.release_tokens([1] * 60)
    with pytest.raises(UserError, match="at most 60 tokens, got 61"):
        client.release_tokens([1] * 61)


@pytest.mark.parametrize("name", ["card.json", "encoder.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("change", ["cut", "flip", "remove"])
def test_a_damaged_folder_is_refused(folder, name, change):
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


def replaced(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec": {**SPEC.to_dict(), "dim": 7}}, "trained for another model"),
        ({"spec": {**SPEC.to_dict(), "clip": 0.04}}, "trained for another model"),
        ({"model_sha256": "cd" * 32}, "trained for another model"),
        ({"format": "other"}, "damaged"),
        ({"max_tokens": None}, "describe a client"),
        ({"spec": {**SPEC.to_dict(), "scale": 0.01}}, "scale"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, changes, reason):
    replaced(folder, **changes)
    with pytest.raises(UserError, match=reason):
        load_client(folder, certificate=UNCERTIFIED)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="client's folder"):
        load_client(tmp_path / "none", certificate=UNCERTIFIED)


class SlowTokenizer:
    def __call__(self, text, add_special_tokens):
        raise AssertionError


def test_what_cannot_be_sent_with_is_not_written(tmp_path, encoder, tokenizer):
    class Different:
        backend_tokenizer = tokenizer.backend_tokenizer

        def __call__(self, text, add_special_tokens):
            return tokenizer(text + "x", add_special_tokens=add_special_tokens)

    few = Encoder(encoder.levels[: len(tokenizer) - 1], SPEC.clip)
    for parts, reason in [
        (
            (CodeReleaser(few, SPEC), MODEL, tokenizer, 60),
            rf"{len(tokenizer)} words, .*got {len(tokenizer) - 1}: a projection trained for another model",
        ),
        ((CodeReleaser(encoder, SPEC), MODEL, SlowTokenizer(), 60), "SlowTokenizer"),
        ((CodeReleaser(encoder, SPEC), MODEL, Different(), 60), "does not"),
        ((CodeReleaser(encoder, SPEC), MODEL, tokenizer, 0), "max_tokens=0"),
        ((CodeReleaser(encoder, SPEC), MODEL, tokenizer, True), "max_tokens=True"),
    ]:
        with pytest.raises(UserError, match=reason):
            save_client_bundle(tmp_path / "client", *parts)
    with pytest.raises(UserError, match="can be written"):
        save_client_bundle(tmp_path / "none" / "client", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(folder, encoder, tokenizer):
    before = (folder / "card.json").read_bytes()
    with pytest.raises(UserError, match="does not exist yet"):
        save_client_bundle(folder, CodeReleaser(encoder, SPEC), MODEL, tokenizer, 61)
    assert (folder / "card.json").read_bytes() == before


def test_a_write_that_fails_leaves_nothing(tmp_path, encoder, tokenizer, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="No space left"):
        save_client_bundle(tmp_path / "client", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_client_starts_and_sends_without_torch_transformers_or_scipy_in_little_memory(folder):
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'scipy', 'datasets'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from mechanisms.client_bundle import load_client\n"
        "from mechanisms.client_certificate import UNCERTIFIED\n"
        f"message = load_client(Path({str(folder)!r}), certificate=UNCERTIFIED).release('The pain was gone.')\n"
        "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(len(message), *peak)\n"
    )
    root = Path(mechanisms.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert run.returncode == 0, run.stderr
    length, kilobytes = map(int, run.stdout.split())
    assert length > 16
    assert kilobytes < 200_000
