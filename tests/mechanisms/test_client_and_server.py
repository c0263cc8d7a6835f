import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mechanisms
from mechanisms import client as client_module
from mechanisms.client import Client, CodeReleaser
from mechanisms.continuation import embed
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings
from mechanisms.randomness import SimulatedRandomness
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import message_bytes, unpack

PROMPT = "The pain was gone within a week."
RESPONSE = [5, 80, 81, 200]


class CharacterTokenizer:
    """One token a letter: a is 0, b is 1."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(letter) - ord("a") for letter in text])


SPEC = QuantizerSpec(bits=4, dim=8, clip=0.05, scale=0.1)


def a_client(source=None, max_tokens=10, words=26):
    codes = np.random.default_rng(0).uniform(-0.05, 0.05, (words, SPEC.dim)).astype(np.float32)
    return Client(CharacterTokenizer(), CodeReleaser(Encoder.of(codes, SPEC.clip), SPEC), max_tokens, source)


class RecordingDecoder:
    """Decodes as another does, and keeps what it was given."""

    def __init__(self, decoder):
        self.decoder, self.given = decoder, []

    def decode(self, counts):
        self.given.append(counts.copy())
        return self.decoder.decode(counts)


@pytest.fixture
def decoder(tiny_pipeline):
    return RecordingDecoder(tiny_pipeline.decoder)


@pytest.fixture
def soft_prompt(language):
    width = language.model.config.hidden_size
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(0)) * 0.1
    return SoftPrompt("test", vectors, {}, "")


@pytest.fixture
def server(language, tiny_pipeline, decoder, soft_prompt):
    return Server(language, replace(tiny_pipeline, decoder=decoder), soft_prompt)


@pytest.fixture
def make_client(language, tiny_pipeline):
    def make(source=None):
        return Client(language.tokenizer, tiny_pipeline, 100, source)

    return make


class TestClient:
    def test_a_message_carries_one_row_of_counts_a_token(self):
        message = a_client().release("abc")
        assert type(message) is bytes
        assert len(message) == message_bytes(SPEC, 3)
        assert unpack(message, SPEC).shape == (3, 8)

    @pytest.mark.parametrize(
        ("prompt", "reason"),
        [
            ("", "empty prompt"),
            ("a" * 11, "at most 10 tokens, got 11"),
            ("abc{", r"0\.\.25, got 26"),
            ("abcA", r"0\.\.25, got -32"),
        ],
    )
    def test_a_prompt_that_cannot_be_released_draws_nothing(self, prompt, reason, no_words):
        with pytest.raises(UserError, match=reason):
            a_client(no_words).release(prompt)

    def test_the_longest_prompt_is_released(self):
        assert len(unpack(a_client().release("a" * 10), SPEC)) == 10

    def test_the_same_prompt_never_gives_the_same_message(self):
        client = a_client()
        messages = {client.release("abcdefgh") for _ in range(20)}
        messages |= {a_client().release("abcdefgh") for _ in range(20)}
        assert len(messages) == 40

    def test_a_seeded_client_repeats_its_releases_and_each_has_fresh_noise(self):
        first, second = (a_client(SimulatedRandomness(3, "test")) for _ in range(2))
        once, again = [first.release("abcdefgh") for _ in range(2)], [second.release("abcdefgh") for _ in range(2)]
        assert once == again
        assert once[0] != once[1]
        assert a_client(SimulatedRandomness(4, "test")).release("abcdefgh") != once[0]

    def test_what_is_released_has_the_law_of_the_words_code(self):
        """The mechanism that is calibrated is the one that is deployed: clip, scale and sign survive the whole path."""
        client = a_client(SimulatedRandomness(5), max_tokens=20_000)
        counts = unpack(client.release("c" * 20_000), SPEC)
        code = client._releaser.encoder.codes[2].astype(np.float64)
        success = 0.5 + 0.5 * code / SPEC.scale
        deviation = np.sqrt(SPEC.trials * success * (1 - success) / len(counts))
        assert (np.abs(counts.mean(axis=0) - SPEC.trials * success) < 5 * deviation).all()

    def test_every_count_has_bits_of_its_own(self, constant_words):
        source = constant_words(0)
        a_client(source).release("abcde")
        assert source.drawn >= 5 * SPEC.dim / 2  # half a word; test_inversion.py says which

    def test_a_broken_quantizer_releases_nothing(self, broken_quantizer, monkeypatch):
        packed = []
        monkeypatch.setattr(client_module, "pack", lambda *arguments: packed.append(arguments))
        with pytest.raises(RuntimeError, match="the quantizer is broken"):
            a_client().release("abc")
        assert packed == []

    def test_a_broken_source_releases_nothing(self, no_words):
        with pytest.raises(AssertionError, match="words were drawn"):
            a_client(no_words).release("abc")

    def test_an_encoder_of_another_dim_is_refused(self):
        with pytest.raises(UserError, match=r"dim=8, got dim=7"):
            CodeReleaser(Encoder.of(np.zeros((26, 7)), SPEC.clip), SPEC)

    def test_an_encoder_of_another_clip_is_refused(self):
        with pytest.raises(UserError, match=r"clip=0\.05, got clip=0\.04"):
            CodeReleaser(Encoder.of(np.zeros((26, 8)), 0.04), SPEC)

    def test_a_client_needs_no_language_model_and_no_torch(self):
        program = (
            "import sys\n"
            "sys.modules['torch'] = sys.modules['transformers'] = None\n"
            "import numpy as np\n"
            "from mechanisms.client import Client, CodeReleaser\n"
            "from mechanisms.encoder import Encoder\n"
            "from mechanisms.spec import QuantizerSpec\n"
            "codes = Encoder.of(np.zeros((9, 3)), 0.05)\n"
            "client = Client(None, CodeReleaser(codes, QuantizerSpec(4, 3, 0.05, 0.1)), 10)\n"
            "print(len(client.release_tokens([1, 2, 8])))\n"
        )
        root = Path(mechanisms.__file__).parent.parent
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
        assert run.returncode == 0, run.stderr
        assert run.stdout.split() == ["21"]


class TestServer:
    def test_the_decoder_is_given_the_messages_counts_and_nothing_else(self, server, decoder, make_client):
        message = make_client().release(PROMPT)
        server.losses([message], [RESPONSE])
        server.answer([message], 3, seed=0)
        assert len(decoder.given) == 2
        for counts in decoder.given:
            assert np.array_equal(counts, unpack(message, server._receiver.spec))

    def test_prompts_whose_messages_are_the_same_bytes_cannot_be_told_apart(self, server, make_client, constant_words):
        """With every word 2^32 - 1 every trial succeeds, so two prompts of one length give one message."""
        client = make_client(constant_words(2**32 - 1))
        tokens = client._tokenizer(PROMPT, add_special_tokens=False).input_ids
        messages = [client.release_tokens(tokens), client.release_tokens(tokens[::-1])]
        assert messages[0] == messages[1]
        losses = [server.losses([message], [RESPONSE]) for message in messages]
        assert losses[0] == losses[1]
        assert server.answer(messages[:1], 8, seed=1) == server.answer(messages[1:], 8, seed=1)

    def test_public_methods_take_messages_and_nothing_else_of_a_prompt(self):
        public = {
            name: list(inspect.signature(method).parameters)[1:]
            for name, method in inspect.getmembers(Server, inspect.isfunction)
            if not name.startswith("_")
        }
        assert public == {
            "prefix": ["message"],
            "write": ["messages", "settings"],
            "answer": ["messages", "new_tokens", "seed"],
            "stream": ["message", "settings"],
            "stream_all": ["messages", "settings"],
            "losses": ["messages", "responses", "progress"],
        }

    @pytest.mark.parametrize(
        "prompt",
        [
            PROMPT,
            [1, 2, 3],
            list(range(40)),
            np.zeros((40, 32), dtype=np.float32),
            np.zeros((40, 6), dtype=np.uint8),
            torch.zeros(40, 32),
        ],
        ids=["text", "tokens", "more tokens", "embeddings", "counts", "tensor"],
    )
    def test_anything_but_a_message_is_refused(self, server, decoder, prompt):
        for call in (
            lambda: server.prefix(prompt),
            lambda: server.losses([prompt], [RESPONSE]),
            lambda: server.answer([prompt], 2, seed=0),
            lambda: server.stream(prompt, GenerationSettings(2)),
        ):
            with pytest.raises((UserError, TypeError)):
                call()
        assert decoder.given == []

    @pytest.mark.parametrize(
        "change", [{"dim": 5}, {"bits": 3}, {"scale": 0.9}, {"clip": 0.049}], ids=["dim", "bits", "scale", "clip"]
    )
    def test_a_message_of_another_spec_is_refused(self, server, decoder, language, tiny_pipeline, change):
        spec = QuantizerSpec(**{**tiny_pipeline.spec.to_dict(), **change})
        codes = Encoder.of(tiny_pipeline.encoder.codes[:, : spec.dim], spec.clip)
        other = Client(language.tokenizer, CodeReleaser(codes, spec), 100)
        with pytest.raises(UserError, match="do not run the same quantizer"):
            server.losses([other.release(PROMPT)], [RESPONSE])
        assert decoder.given == []

    def test_a_damaged_message_is_refused(self, server, decoder, make_client):
        message = make_client().release(PROMPT)
        for damaged in (message[:-1], message + b"\0", b"", b"x" + message[1:]):
            with pytest.raises(UserError):
                server.answer([damaged], 2, seed=0)
        assert decoder.given == []

    def test_the_model_reads_the_soft_prompt_and_then_what_the_decoder_made(
        self, server, soft_prompt, tiny_pipeline, make_client
    ):
        message = make_client().release(PROMPT)
        decoded = tiny_pipeline.decoder.decode(unpack(message, tiny_pipeline.spec))
        prefix = server.prefix(message)
        assert prefix.dtype == torch.float32
        assert torch.equal(prefix[:3], soft_prompt.vectors)
        assert np.array_equal(prefix[3:].numpy(), decoded)
        assert torch.equal(server.prefix(None), soft_prompt.vectors)

    def test_without_a_soft_prompt_the_models_opening_token_stands_in_front(self, language, tiny_pipeline, make_client):
        plain = Server(language, tiny_pipeline, None)
        prefix = plain.prefix(make_client().release(PROMPT))
        assert torch.equal(prefix[:1], embed(language.model, [language.model.config.bos_token_id]))
        assert torch.equal(plain.prefix(None), prefix[:1])

    def test_a_model_without_opening_token_needs_a_prompt(self, language, tiny_pipeline, make_client, monkeypatch):
        for name in ("bos_token_id", "eos_token_id"):
            monkeypatch.setattr(language.model.config, name, None)
            monkeypatch.setattr(language.model.generation_config, name, None)
        plain = Server(language, tiny_pipeline, None)
        message = make_client().release(PROMPT)
        assert len(plain.prefix(message)) == len(unpack(message, tiny_pipeline.spec))
        assert plain.losses([message], [RESPONSE]).shape == (1,)
        with pytest.raises(UserError, match="Expected a prompt"):
            plain.prefix(None)

    def test_losses_and_answers_come_in_the_order_of_the_messages(self, server, make_client):
        client = make_client(SimulatedRandomness(0))
        messages = [client.release(PROMPT), None, client.release("Short."), client.release(PROMPT * 2)]
        responses = [RESPONSE, [7], [9, 10, 11], RESPONSE]
        together = server.losses(messages, responses)
        alone = [server.losses([one], [response])[0] for one, response in zip(messages, responses, strict=True)]
        assert together == pytest.approx(alone, abs=1e-5)
        answers = server.answer(messages, 4, seed=3)
        assert len(answers) == 4
        assert all(isinstance(answer, str) for answer in answers)
        assert answers == server.answer(messages, 4, seed=3)
        assert answers != server.answer(messages, 4, seed=4)
