"""Pieces of text, joined, are the text that all tokens give at once, for every kind of tokenizer."""

from functools import cache

import pytest
from every_tokenizer import BYTES, GROWING, KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mechanisms.text_pieces import TextPieces, text_of, texts_inside, token_texts

every_kind = pytest.mark.parametrize("kind", sorted(KINDS))
with_bytes = pytest.mark.parametrize("kind", ["byte-level", "Llama 2", "Gemma"])


@cache
def made(kind):
    return KINDS[kind]()


def numbers(kind, names):
    return made(kind).convert_tokens_to_ids(names)


def byte_tokens(kind, data):
    """Returns one token for each byte."""
    if kind != "byte-level":
        return numbers(kind, [BYTES[byte] for byte in data])
    names = made(kind).backend_tokenizer.model
    kept = [byte for byte in range(256) if 33 <= byte < 127 or 161 <= byte < 173 or byte >= 174]
    letter = {byte: chr(byte) for byte in kept}
    letter |= {byte: chr(256 + place) for place, byte in enumerate(sorted(set(range(256)) - set(kept)))}
    return [names.token_to_id(letter[byte]) for byte in data]


def streamed(kind, tokens):
    """Returns the piece of each token, and what is left at the end."""
    pieces = TextPieces(made(kind))
    return [*map(pieces.add, tokens), pieces.finish()]


def rows(kind):
    """Returns rows of tokens; half of them have many bytes, words with odd edges, special and unknown ones."""
    size = len(made(kind))
    last = size if kind == "Python" else size + 2
    return st.lists(st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 24), last - 1)), max_size=24)


@every_kind
@settings(max_examples=300)
@given(data=st.data())
def test_pieces_of_any_tokens_are_their_text(kind, data):
    tokens = data.draw(rows(kind))
    assert "".join(streamed(kind, tokens)) == text_of(made(kind), tokens)
    pieces = token_texts(made(kind), tokens)
    assert "".join(pieces) == made(kind).decode(tokens, clean_up_tokenization_spaces=False)
    assert len(pieces) == len(tokens)


@with_bytes
@settings(max_examples=300)
@given(data=st.binary(max_size=12), word=st.sampled_from(["a", "1", "b"]), place=st.integers(0, 12))
def test_pieces_of_any_bytes_are_their_text(kind, data, word, place):
    tokens = byte_tokens(kind, data)
    tokens[place:place] = numbers(kind, [word])
    assert "".join(streamed(kind, tokens)) == text_of(made(kind), tokens)
    assert "".join(token_texts(made(kind), tokens)) == text_of(made(kind), tokens)


@with_bytes
@settings(max_examples=200)
@given(text=st.text(max_size=6))
def test_a_character_counts_with_the_token_of_its_last_byte(kind, text):
    """Also U+FFFD itself, whose first byte alone is shown as U+FFFD."""
    text = "é" + text
    expected = [piece for letter in text for piece in [""] * (len(letter.encode()) - 1) + [letter]]
    assert token_texts(made(kind), byte_tokens(kind, text.encode())) == expected


@with_bytes
def test_bytes_of_no_character_count_with_the_last_of_them(kind):
    tokens = [*byte_tokens(kind, "€".encode()[:-1]), *numbers(kind, ["a"])]
    assert token_texts(made(kind), tokens) == ["" if kind == "byte-level" else "\ufffd", "\ufffd", "a"]


@pytest.mark.parametrize("kind", sorted(GROWING))
def test_plain_text_comes_with_every_token(kind):
    names = {"WordPiece": ["a", "cat", "##s"], "suffixes": ["a</w>", "cat</w>", "1</w>"], "no decoder": ["a", "cat"]}
    tokens = numbers(kind, names.get(kind, ["a", "b", "1", "a"])) * 20
    *pieces, rest = streamed(kind, tokens)
    assert all(pieces)
    assert rest == ""
    assert pieces == token_texts(made(kind), tokens)


@pytest.mark.parametrize("kind", sorted(GROWING))
def test_a_long_text_is_not_decoded_again_for_every_token(kind, monkeypatch):
    tokenizer, sizes = made(kind), []
    decode = PreTrainedTokenizerFast._decode

    def counting(self, token_ids, *arguments, **options):
        sizes.append(len(token_ids))
        return decode(self, token_ids, *arguments, **options)

    names = {"WordPiece": ["a", "##s"], "suffixes": ["a</w>", "é</w>"], "no decoder": ["a", "é"]}
    tokens = tokenizer.convert_tokens_to_ids(names.get(kind, ["a", "1"])) * 200
    expected = text_of(tokenizer, tokens)
    monkeypatch.setattr(PreTrainedTokenizerFast, "_decode", counting)
    assert "".join(token_texts(tokenizer, tokens)) == expected
    assert "".join(streamed(kind, tokens)) == expected
    assert max(sizes) <= 4
    assert len(sizes) <= 5 * len(tokens)


@pytest.mark.parametrize("kind", ["Llama 2", "Gemma"])
def test_byte_tokens_are_shown_once_they_are_certain(kind):
    """A byte that fits nowhere would turn the whole run into U+FFFD, its whole characters too."""
    euro = byte_tokens(kind, "€1".encode())
    assert streamed(kind, [*euro, *numbers(kind, ["a", "b"])]) == ["", "", "", "", "€1a", "b", ""]
    assert streamed(kind, [*euro, *byte_tokens(kind, b"\xff")]) == [""] * 5 + ["\ufffd" * 5]
    assert streamed(kind, [*euro[:2], *numbers(kind, ["</s>"]), euro[2]]) == [""] * 4 + ["€"]
    assert streamed(kind, numbers(kind, ["a", "\ufffd", "b"])) == ["a", "", "\ufffdb", ""]


@every_kind
def test_the_first_space_is_the_tokenizers(kind):
    tokens = [token for token in numbers(kind, ["</s>", "▁", "▁a", "▁", "▁▁", "▁the", "a"]) if token is not None]
    assert "".join(streamed(kind, tokens)) == text_of(made(kind), tokens)


@pytest.mark.parametrize("kind", ["rewriting", "Python"])
def test_text_that_later_tokens_take_back_comes_at_the_end(kind):
    tokens = numbers(kind, ["a", "▁", ".", "1"] if kind == "rewriting" else ["w1", "w2", "w3"])
    *pieces, rest = streamed(kind, tokens)
    assert not any(pieces)
    assert rest == text_of(made(kind), tokens) == ("a.1" if kind == "rewriting" else "W3w1 w2 w3")


def test_a_subclass_with_its_own_decode_comes_at_the_end():
    class Shouting(type(made("Gemma"))):
        def decode(self, *arguments, **options):
            return super().decode(*arguments, **options).upper()

    tokenizer = made("Gemma")
    shouting = Shouting(tokenizer_object=tokenizer.backend_tokenizer)
    pieces = TextPieces(shouting)
    assert pieces.add(tokenizer.convert_tokens_to_ids("a")) == ""
    assert pieces.finish() == "A"


@pytest.mark.parametrize("text", ["Zoë’s café: 5 €, naïve 🙂 ok", "", "plain words", "🙂🙂 two"])
def test_token_texts_are_the_text(tiny_lm_folder, text):
    tokenizer = AutoTokenizer.from_pretrained(tiny_lm_folder)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    pieces = token_texts(tokenizer, ids)
    assert "".join(pieces) == text
    assert len(pieces) == len(ids)


def test_token_texts_keep_the_spaces_of_word_pieces(tiny_bert_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_folder)
    assert token_texts(tokenizer, tokenizer("a cat sat", add_special_tokens=False).input_ids) == ["a", " cat", " sat"]


@pytest.mark.parametrize(
    ("kind", "names", "text"),
    [
        ("Llama 2", ["▁the", "a"], " thea"),
        ("Gemma", ["▁the", "a"], " thea"),
        ("Metaspace", ["▁the", "a"], " thea"),
        ("WordPiece", ["cat", "##s"], " cats"),
        ("WordPiece", ["##s", "cat"], "s cat"),
        ("byte-level", ["Ġa", "t"], " at"),
        ("rewriting", ["1"], "1"),
    ],
)
def test_texts_inside_keep_their_first_space(kind, names, text):
    assert texts_inside(made(kind), [numbers(kind, names), []]) == [text, ""]
