import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from every_tokenizer import GROWING, KINDS
from scipy.stats import chi2

from mechanisms.client import Client
from mechanisms.continuation import embed, response_losses
from mechanisms.errors import UserError
from mechanisms.generation import (
    GENERATION_BATCH,
    SHORTLIST,
    GenerationSettings,
    choose,
    end_tokens,
    stream_texts,
    write,
    write_stepwise,
)
from mechanisms.randomness import simulation_generator
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.stepping import CachedReader
from mechanisms.text_pieces import TextPieces, text_of

GREEDY = GenerationSettings(12, greedy=True)
FALSE_ALARM = 1e-6


def some_tokens(count, seed=0):
    return np.random.default_rng(seed).integers(1, 384, count).tolist()


def own_greedy(model, tokens, new_tokens):
    """Returns transformers' own greedy continuation of token ids, up to its end token."""
    output = model.generate(
        torch.tensor([tokens], device=model.device),
        attention_mask=torch.ones(1, len(tokens), dtype=torch.long, device=model.device),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return [token for token in output[0, len(tokens) :].tolist() if token not in end_tokens(model)]


@pytest.fixture(scope="module")
def lively(language):
    """The tiny model with larger weights: what it writes depends on what it reads."""
    model = copy.deepcopy(language.model)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
    return replace(language, model=model)


@pytest.fixture(scope="module")
def absolute_positions():
    """A random GPT-2: its positions are absolute, so padding that is counted as text shows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=96, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(5)
    return model


class TestGreedy:
    def test_text_behind_embedded_tokens_is_the_models_own(self, lively):
        prompts = [some_tokens(length, length) for length in (1, 5, 17, 9, 40)]
        expected = [own_greedy(lively.model, prompt, 12) for prompt in prompts]
        assert len({tuple(text) for text in expected}) == 5
        assert write(lively.model, [embed(lively.model, prompt) for prompt in prompts], GREEDY) == expected

    def test_padding_takes_no_position(self, absolute_positions):
        model = absolute_positions
        prompts = [np.random.default_rng(length).integers(1, 96, length).tolist() for length in (2, 30, 11)]
        expected = [own_greedy(model, prompt, 12) for prompt in prompts]
        assert write(model, [embed(model, prompt) for prompt in prompts], GREEDY) == expected

    def test_a_text_does_not_depend_on_its_neighbours(self, lively):
        prefixes = [embed(lively.model, some_tokens(3 + seed % 11, seed)) for seed in range(GENERATION_BATCH + 5)]
        together = write(lively.model, prefixes, GREEDY)
        assert together == [write(lively.model, [prefix], GREEDY)[0] for prefix in prefixes]

    def test_a_text_that_ends_leaves_the_others_as_they_are(self, lively):
        prompts = [some_tokens(length, length) for length in (5, 9, 17)]
        plain = [own_greedy(lively.model, prompt, 12) for prompt in prompts]
        model = copy.deepcopy(lively.model)
        model.config.eos_token_id = model.generation_config.eos_token_id = end = plain[0][2]
        cut = [text[: text.index(end)] if end in text else text for text in plain]
        assert len(cut[0]) <= 2
        assert write(model, [embed(model, prompt) for prompt in prompts], GREEDY) == cut


class TestSampling:
    def test_draws_have_the_law_of_the_settings(self):
        """Chi-squared against a law computed from its definition; a law of another temperature must be told apart."""
        logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, 40).astype(np.float32))
        settings = GenerationSettings(1, temperature=0.8, top_k=20, top_p=0.9)
        draws, uniforms = 40_000, simulation_generator(1, "test").random(40_000)
        drawn = choose(logits.expand(draws, -1), settings, uniforms).numpy()
        found = np.bincount(drawn, minlength=40)

        def tail(temperature):
            law = truncated(logits.double().numpy(), temperature, 20, 0.9)
            assert found[law == 0].sum() == 0
            kept = law > 0
            statistic = ((found[kept] - draws * law[kept]) ** 2 / (draws * law[kept])).sum()
            return chi2.sf(statistic, kept.sum() - 1)

        assert tail(0.8) > FALSE_ALARM
        assert tail(0.83) < FALSE_ALARM

    @pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
    @pytest.mark.parametrize("top_k", [0, 5, SHORTLIST + 700])
    def test_a_shortlist_draws_what_all_words_would(self, monkeypatch, top_k, top_p):
        for spread in (0.05, 3.0):
            logits = torch.from_numpy(np.random.default_rng(2).normal(0, spread, (6, 3000)).astype(np.float32))
            settings, uniforms = GenerationSettings(1, 1.0, top_p, top_k), np.linspace(0, 0.999, 6)
            short = choose(logits, settings, uniforms)
            with monkeypatch.context() as patch:
                patch.setattr("mechanisms.generation.SHORTLIST", 3000)
                assert torch.equal(short, choose(logits, settings, uniforms))
            for row, (word, uniform) in enumerate(zip(short.tolist(), uniforms, strict=True)):
                law = truncated(logits[row].double().numpy(), 1.0, top_k or 3000, top_p)
                order = np.argsort(-logits[row].numpy(), kind="stable")
                mass = np.cumsum(law[order])
                place = int(np.flatnonzero(order == word)[0])
                assert mass[place] - law[word] - 1e-5 <= uniform <= mass[place] + 1e-5

    def test_extremes(self):
        logits = torch.tensor([[0.0, 2.0, 1.0]]).expand(3, -1)
        ends = np.array([0.0, 0.5, np.nextafter(1, 0)])
        assert choose(logits, GenerationSettings(1, 1.0, 1.0), ends).tolist() == [1, 1, 0]
        assert choose(logits, GenerationSettings(1, 1.0, 1e-9), ends).tolist() == [1, 1, 1]
        assert choose(logits, GenerationSettings(1, 1.0, 1.0, top_k=1), ends).tolist() == [1, 1, 1]
        assert choose(logits, GenerationSettings(1, 1e-6, 1.0), ends).tolist() == [1, 1, 1]

    def test_a_seeded_text_does_not_depend_on_the_neighbours_after_it(self, lively):
        prefixes = [embed(lively.model, some_tokens(length, length)) for length in (4, 9, 21)]
        settings = GenerationSettings(10, temperature=1.0, top_p=1.0, seed=3)
        together = write(lively.model, prefixes, settings)
        assert write(lively.model, prefixes, settings) == together
        assert write(lively.model, prefixes[:1], settings) == together[:1]
        assert write(lively.model, prefixes, replace(settings, seed=4)) != together
        assert len({tuple(text) for text in write(lively.model, prefixes[:1] * 4, settings)}) == 4


def truncated(logits, temperature, top_k, top_p):
    """Returns the law that top-k and then top-p leave, by a loop over the words from the likeliest down."""
    order = sorted(range(len(logits)), key=lambda word: -logits[word])[:top_k]
    weight = {word: np.exp((logits[word] - logits[order[0]]) / temperature) for word in order}
    total, reached, law = sum(weight.values()), 0.0, np.zeros(len(logits))
    for word in order:
        if reached >= top_p:
            break
        law[word] = weight[word] / total
        reached += law[word]
    return law / law.sum()


class TestStreaming:
    def test_steps_are_what_is_written(self, lively):
        prefixes = [embed(lively.model, some_tokens(length, length)) for length in (4, 9, 21)]
        steps = list(write_stepwise(lively.model, prefixes, GREEDY))
        assert len(steps) == 12
        texts = [[token for step in steps for text, token in step if text == index] for index in range(3)]
        assert texts == write(lively.model, prefixes, GREEDY)

    @pytest.mark.parametrize("seed", range(4))
    def test_pieces_add_up_to_the_text_and_cut_no_character(self, lively, seed):
        """The tiny model writes bytes at random, most of them parts of characters that are never completed."""
        prefixes = [embed(lively.model, some_tokens(length, length)) for length in (4, 9)]
        settings = GenerationSettings(30, temperature=2.0, top_p=1.0, seed=seed)
        texts = [text_of(lively.tokenizer, tokens) for tokens in write(lively.model, prefixes, settings)]
        streamed = list(stream_texts(lively.model, lively.tokenizer, prefixes, settings))
        assert ["".join(piece for text, piece in streamed if text == index) for index in range(2)] == texts
        assert all(piece for _, piece in streamed)

    def test_a_character_of_several_tokens_comes_whole(self, language):
        text = "naïve 🙂 – пока"
        tokens = language.tokenizer(text, add_special_tokens=False).input_ids
        pieces = TextPieces(language.tokenizer)
        shown = [pieces.add(token) for token in tokens]
        assert "".join(shown) + pieces.finish() == text
        assert "🙂" in shown
        assert len(tokens) > len(text)
        assert not any("\ufffd" in piece for piece in shown)

    def test_an_unfinished_character_is_shown_at_the_end(self, language):
        tokens = language.tokenizer("a🙂", add_special_tokens=False).input_ids[:-1]
        pieces = TextPieces(language.tokenizer)
        assert "".join(pieces.add(token) for token in tokens) == "a"
        assert pieces.finish() == language.tokenizer.decode(tokens)[1:] != ""

    def test_gradients_are_not_switched_off_for_whoever_reads_the_stream(self, lively):
        for _ in write_stepwise(lively.model, [embed(lively.model, [1, 2])], GREEDY):
            assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"new_tokens": 0}, "new_tokens to be a whole number >= 1, got new_tokens=0"),
        ({"new_tokens": 2.5}, "new_tokens"),
        ({"temperature": 0.0}, "temperature > 0 and finite, got temperature=0.0"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, r"top_p in \(0, 1\], got top_p=0.0"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_k": -1}, "top_k to be a whole number >= 0"),
        ({"seed": -1}, "seed to be a whole number >= 0"),
        ({"seed": True}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(values, reason):
    with pytest.raises(UserError, match=reason):
        GenerationSettings(**values)


def test_what_cannot_be_read_is_refused(lively):
    with pytest.raises(UserError, match="at least one embedding"):
        write(lively.model, [torch.zeros(0, 32)], GREEDY)
    with pytest.raises(UserError, match="got 257"):
        write(lively.model, [embed(lively.model, some_tokens(245))], GREEDY)
    assert write(lively.model, [], GREEDY) == []


def test_models_that_do_not_go_from_left_to_right_are_refused(lively):
    from transformers import BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration

    small = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    encoder = BertLMHeadModel(BertConfig(**small, intermediate_size=8, is_decoder=False))
    with pytest.raises(UserError, match="got BertLMHeadModel, whose tokens see those that follow"):
        write(encoder, [torch.zeros(3, 8)], GREEDY)
    both = T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8))
    with pytest.raises(UserError, match="got the encoder-decoder T5"):
        CachedReader(both)


class TestHalfPrecision:
    def test_losses_and_text_are_nearly_the_same(self, lively):
        half = copy.deepcopy(lively.model).to(torch.bfloat16)
        prefixes = [embed(lively.model, some_tokens(length, length)) for length in (4, 9, 21, 30)]
        responses = [some_tokens(20, 50 + length) for length in (4, 9, 21, 30)]
        with torch.no_grad():
            exact, rough = (torch.cat(response_losses(m, prefixes, responses)) for m in (lively.model, half))
        assert rough.dtype == torch.float32
        assert float(rough.mean()) == pytest.approx(float(exact.mean()), rel=0.03)
        first = replace(GREEDY, new_tokens=1)
        same = [
            one == other for one, other in zip(*(write(m, prefixes, first) for m in (lively.model, half)), strict=True)
        ]
        assert sum(same) >= 3

    def test_a_server_moves_what_it_decodes_to_the_models_format(self, lively, tiny_pipeline):
        half = replace(lively, model=copy.deepcopy(lively.model).to(torch.bfloat16))
        soft = SoftPrompt("test", torch.zeros(3, 32), {}, "")
        message = Client(lively.tokenizer, tiny_pipeline, 100).release("The pain was gone.")
        server = Server(half, tiny_pipeline, soft)
        assert server.prefix(message).dtype == torch.bfloat16
        assert server.losses([message], [[5, 6]]).dtype == np.float64
        assert len(server.write([message, None], GREEDY)) == 2


class CleanReceiver:
    """A quantizer that is the identity at infinite precision: the test's own, as no product code can make one."""

    def __init__(self, table, prompts):
        self.table, self.prompts = table, prompts

    def embeddings(self, message):
        return self.table[self.prompts[message]]


class TestIdentity:
    """Only the quantizer and what decodes it stand between a prompt and the model's own answer."""

    def test_with_the_identity_for_a_quantizer_a_server_writes_what_the_model_writes(self, lively):
        table = lively.model.get_input_embeddings().weight.detach().numpy()
        prompts = {bytes([length]): some_tokens(length, length) for length in (1, 6, 18, 40)}
        server = Server(lively, CleanReceiver(table, prompts), None)
        opening = lively.model.config.bos_token_id
        expected = [own_greedy(lively.model, [opening, *tokens], 12) for tokens in prompts.values()]
        assert server.write(list(prompts), GREEDY) == [text_of(lively.tokenizer, tokens) for tokens in expected]
        for message, tokens in zip(prompts, expected, strict=True):
            assert "".join(server.stream(message, GREEDY)) == text_of(lively.tokenizer, tokens)

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_a_stream_is_what_is_written_with_every_tokenizer(self, lively, kind):
        """The tiny model writes tokens at random: bytes, parts of characters, special and unknown tokens."""
        table = lively.model.get_input_embeddings().weight.detach().numpy()
        prompts = {bytes([seed]): some_tokens(5, seed) for seed in range(24)}
        lm = replace(lively, tokenizer=KINDS[kind]())
        server = Server(lm, CleanReceiver(table, prompts), None)
        written = server.write(list(prompts), GREEDY)
        streams = [list(server.stream(message, GREEDY)) for message in prompts]
        assert ["".join(stream) for stream in streams] == written
        assert (max(map(len, streams)) > 1) == (kind in GROWING)
        if kind in ("byte-level", "Llama 2", "Gemma"):
            assert any(text.endswith("\ufffd") for text in written)

    @pytest.mark.assets
    @pytest.mark.slow
    def test_a_packaged_model_writes_the_same(self, packaged):
        from mechanisms.models import load_causal_lm

        packaged("package:smollm2-135m-instruct")
        lm = load_causal_lm("package:smollm2-135m-instruct")
        texts = ["The doctor told me to take one tablet a day, and", "I had no side effects", "Paris is"]
        prompts = {text.encode(): lm.tokenizer(text).input_ids for text in texts}
        table = lm.model.get_input_embeddings().weight.detach().numpy()
        server = Server(lm, CleanReceiver(table, prompts), None)
        written = server.write(list(prompts), GREEDY)
        opening = lm.model.config.bos_token_id
        expected = [own_greedy(lm.model, [opening, *tokens], 12) for tokens in prompts.values()]
        assert written == [text_of(lm.tokenizer, tokens) for tokens in expected]

    def test_with_a_broken_quantizer_nothing_is_sent_and_the_model_reads_nothing(
        self, lively, tiny_pipeline, broken_quantizer, monkeypatch
    ):
        read = []
        monkeypatch.setattr(CachedReader, "read", lambda *arguments: read.append(arguments))
        server, client = Server(lively, tiny_pipeline, None), Client(lively.tokenizer, tiny_pipeline, 100)
        with pytest.raises(RuntimeError, match="the quantizer is broken"):
            server.write([client.release("The pain was gone.")], GREEDY)
        assert read == []

    def test_the_model_reads_virtual_tokens_what_was_decoded_and_its_own_words(
        self, lively, tiny_pipeline, monkeypatch
    ):
        """Every embedding that goes into the model has one of these three origins; the module itself is untouched."""
        soft = SoftPrompt("test", torch.full((3, 32), 0.1), {}, "")
        message = Client(lively.tokenizer, tiny_pipeline, 100).release("The pain was gone.")
        seen, read = [], CachedReader.read
        monkeypatch.setattr(
            CachedReader, "read", lambda self, inputs, mask=None: seen.append(inputs) or read(self, inputs, mask)
        )
        before = lively.model.get_input_embeddings().forward
        server = Server(lively, tiny_pipeline, soft)
        tokens = write(lively.model, [server.prefix(message)], GREEDY)[0]
        assert torch.equal(seen[0][0, :3], soft.vectors)
        assert np.array_equal(seen[0][0, 3:].numpy(), tiny_pipeline.embeddings(message))
        fed = torch.cat([inputs[0] for inputs in seen[1:]])
        assert torch.equal(fed, embed(lively.model, tokens[: len(fed)]))
        assert lively.model.get_input_embeddings().forward == before


class TestServer:
    @pytest.fixture
    def soft(self):
        return SoftPrompt("test", torch.full((3, 32), 0.1), {}, "")

    @pytest.fixture
    def messages(self, lively, tiny_pipeline):
        client = Client(lively.tokenizer, tiny_pipeline, 300)
        return [
            client.release(text) for text in ("The pain was gone.", "One tablet a day, and no side effects at all.")
        ]

    def test_answers_are_the_papers_sampling(self, lively, tiny_pipeline, soft, messages):
        server = Server(lively, tiny_pipeline, soft)
        assert server.answer(messages, 9, 5) == server.write(messages, GenerationSettings(9, 0.7, 0.9, 0, False, 5))

    def test_streams_side_by_side_add_up_to_the_texts(self, lively, tiny_pipeline, soft, messages):
        server, settings = Server(lively, tiny_pipeline, soft), GenerationSettings(15, 1.5, 1.0, seed=2)
        pieces = list(server.stream_all([*messages, None], settings))
        texts = ["".join(piece for text, piece in pieces if text == index) for index in range(3)]
        assert texts == server.write([*messages, None], settings)
        assert "".join(server.stream(messages[0], settings)) == texts[0]

    def test_a_prompt_over_the_context_is_refused_before_anything_is_written(
        self, lively, tiny_pipeline, soft, messages, monkeypatch
    ):
        monkeypatch.setattr(CachedReader, "read", lambda *_arguments: pytest.fail("the model was run"))
        server = Server(lively, tiny_pipeline, soft)
        prompt = len(tiny_pipeline.embeddings(messages[0]))
        numbers = rf"at most 256, the model's context, got 3 \+ {prompt} \+ 250 = {253 + prompt}"
        for call in (
            lambda: server.write(messages[:1], GenerationSettings(250)),
            lambda: server.answer(messages[:1], 250, 0),
            lambda: server.stream(messages[0], GenerationSettings(250)),
        ):
            with pytest.raises(UserError, match=numbers):
                call()

    def test_a_receiver_that_reads_batches_is_given_all_messages_at_once(self, lively, tiny_pipeline, soft, messages):
        given = []

        def at_once(several):
            given.append(list(several))
            return [tiny_pipeline.embeddings(message) for message in several]

        batched = SimpleNamespace(embeddings=tiny_pipeline.embeddings, embeddings_of=at_once)
        server, plain = Server(lively, batched, soft), Server(lively, tiny_pipeline, soft)
        mixed = [messages[0], None, messages[1]]
        assert server.write(mixed, GREEDY) == plain.write(mixed, GREEDY)
        assert server.losses(mixed, [[1], [2], [3]]) == pytest.approx(plain.losses(mixed, [[1], [2], [3]]))
        assert given == [messages, messages]
