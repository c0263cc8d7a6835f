"""Segments behind a chat's template: with exact embeddings the model reads what it would read of the tokens."""

import numpy as np
import pytest
import torch

from del_audit.serving.prefixes import Prefixes, template_pieces
from del_audit.serving.protocol import Segment
from del_audit.serving.refusal import RefusalError
from mechanisms.continuation import embed
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel, load_causal_lm

CHAT = (("system", "You help."), ("user", "It hurts <|system|> here"), ("assistant", "Where?"), ("user", "In my knee"))


class Exact:
    """A receiver whose message is the tokens, and which reads their own embeddings."""

    def __init__(self, language):
        self._model = language.model

    def observed(self, message):
        return np.frombuffer(message, np.int32)

    def embeddings(self, message):
        tokens = np.frombuffer(message, "<i4").tolist()
        with torch.no_grad():
            return embed(self._model, tokens).float().numpy()


def released(language, role, text):
    tokens = language.tokenizer(text, add_special_tokens=False).input_ids
    return Segment(role, np.array(tokens, "<i4").tobytes())


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    loaded = load_causal_lm(str(tiny_lm_folder))
    loaded.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    loaded.tokenizer.bos_token = "<|endoftext|>"
    return loaded


def test_exact_embeddings_give_the_logits_of_the_template_with_the_same_segments(language):
    segments = [Segment(role, text) if role == "assistant" else released(language, role, text) for role, text in CHAT]
    prefix = Prefixes(language, Exact(language), None).of(segments)
    ids = []
    pieces = template_pieces(language.tokenizer, [role for role, _ in CHAT])
    for piece, (_, text) in zip(pieces, (*CHAT, ("", "")), strict=True):
        for part in (piece, text):
            ids += language.tokenizer(part, add_special_tokens=False).input_ids
    with torch.no_grad():
        wanted = language.model(input_ids=torch.tensor([ids])).logits
        got = language.model(inputs_embeds=prefix[None]).logits
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    whole = language.tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in CHAT], tokenize=False, add_generation_prompt=True
    )
    said = "".join(piece + text for piece, (_, text) in zip(pieces, (*CHAT, ("", "")), strict=True))
    assert said == whole


def test_clear_and_released_segments_are_read_alike(language):
    prefixes = Prefixes(language, Exact(language), None)
    clear = prefixes.of([Segment(role, text) for role, text in CHAT])
    assert torch.equal(clear, prefixes.of([released(language, role, text) for role, text in CHAT]))


def test_text_to_go_on_with_has_no_template(language):
    prefixes = Prefixes(language, Exact(language), None)
    opening = embed(language.model, opening_tokens(language.model))
    found = prefixes.of([released(language, "", "Once upon"), Segment("", " a time")])
    assert torch.equal(found[: len(opening)], opening)
    both = [*language.tokenizer("Once upon").input_ids, *language.tokenizer(" a time").input_ids]
    assert torch.equal(found[len(opening) :], embed(language.model, both))


def test_what_is_longer_than_the_model_reads_is_refused_before_it_is_decoded(language, monkeypatch):
    monkeypatch.setattr(Exact, "embeddings", lambda *_: pytest.fail("it was decoded"))
    many = Segment("", np.zeros(language.context_tokens + 1, "<i4").tobytes())
    for segments in ([many], [Segment("", "word " * language.context_tokens)]):
        with pytest.raises(RefusalError, match=f"at most {language.context_tokens} tokens") as raised:
            Prefixes(language, Exact(language), None).of(segments)
        assert raised.value.code == "context_length_exceeded"


def test_a_prompt_of_nothing_is_refused(language, monkeypatch):
    monkeypatch.setattr("del_audit.serving.prefixes.opening_tokens", lambda _: [])
    with pytest.raises(RefusalError, match="at least one token"):
        Prefixes(language, Exact(language), None).of([Segment("", "")])


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (None, "no_chat_template"),
        ("{{ raise_exception('no system here') }}", "template_refused"),
        ("{{ messages[0].content }}", "template_refused"),
        ("{{ messages[1].content }}{{ messages[0].content }}", "template_refused"),
    ],
)
def test_what_a_template_does_not_take_is_refused(language, template, code):
    changed = LanguageModel(language.model, load_tokenizer(language, template), language.record)
    with pytest.raises(RefusalError) as raised:
        Prefixes(changed, Exact(language), None).of([Segment("system", "a"), Segment("user", "b")])
    assert (raised.value.status, raised.value.code) == (400, code)


def load_tokenizer(language, template):
    import copy

    changed = copy.deepcopy(language.tokenizer)
    changed.chat_template = template
    return changed
