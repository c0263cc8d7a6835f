"""Text from tokens piece by piece, so that the pieces of a text, joined, are what decoding all tokens at once gives.

Tokenizers decode a token differently at the start of a text (SentencePiece drops a space there), inside a character
(some show one U+FFFD for its bytes so far, some one per byte) and within a run of byte tokens (a single byte that fits
nowhere turns all of them into U+FFFD). So text is shown once no later token can change it, and few tokens are decoded
again for it: those of the last piece, which stand for all the text before.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mechanisms.library_types import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"
"""What a tokenizer shows for the bytes of a character that is not whole yet."""
_ALONE = frozenset({"ByteLevel ", "WordPiece ", "Metaspace ", "BPEDecoder "})
"""Decoders to which each token adds its own, the same after any other token."""
_PARTS = re.compile(r"(Replace )*(ByteFallback )?((Replace|Strip) )*(Fuse )?(Strip )*")
"""Sequences of which that is true too but for runs of byte tokens: nothing is replaced across tokens."""


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Returns the text of tokens without special ones, spaces as they were written."""
    return _decoded(tokenizer, tokens, special=False)


class TextPieces:
    """Turns the tokens of one text, as they come, into pieces that add up to text_of; no piece cuts a character.

    Text is shown as soon as it is certain. A decoder of another make than the known ones may change all that it said
    before with every token: then the text comes as one piece at the end.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._window = _Window(tokenizer, special=False)
        self._shown = 0

    def add(self, token: int) -> str:
        """Returns what the token adds to the text; nothing yet where a later token could change it."""
        window = self._window
        window.add(token)
        if window.open:
            return ""
        text = window.text()
        certain = text.rstrip(UNFINISHED)
        piece, self._shown = certain[self._shown :], len(certain)
        if certain == text:
            window.close()
            self._shown = 0
        return piece

    def finish(self) -> str:
        """Returns what is left of the text, such as a character that was never completed, as the tokenizer shows it."""
        return self._window.text()[self._shown :]


def token_texts(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[str]:
    """Returns what each token, special ones too, adds to the decoded text: one piece per token, together the text.

    A character whose bytes are spread over several tokens counts with the last of them.
    """
    window = _Window(tokenizer, special=True)
    pieces: list[str] = []
    grown: list[str] = []
    for token in tokens:
        window.add(token)
        grown.append(window.text())
        if not window.open and not grown[-1].endswith(UNFINISHED):
            window.close()
            pieces += _shares(grown)
            grown = []
    return pieces + _shares(grown)


def texts_inside(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]]) -> list[str]:
    """Returns what each row of tokens, special ones too, adds to a text that has begun: its first space is kept."""
    word = list(tokenizer("a", add_special_tokens=False).input_ids)
    before = _decoded(tokenizer, word, special=True)
    texts = []
    for row in rows:
        text = _decoded(tokenizer, [*word, *row], special=True) if before else ""
        inside = bool(before) and text.startswith(before)
        texts.append(text[len(before) :] if inside else _decoded(tokenizer, row, special=True))
    return texts


class _Window:
    """The last tokens of a text: those of a piece that is closed, whose text is not empty, and those after it.

    What is added to the closed piece is what is added to the whole text: whatever a decoder does to the start of a text
    it has done within that piece, and no character or run of byte tokens goes across its start.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: bool) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._tokens: list[int] = []
        self._closed, self._before = 0, ""
        decoders = _decoders(tokenizer)
        self._known = decoders is not None
        self._bytes = "ByteFallback" in (decoders or ())
        self.open = not self._known
        """Whether a later token could change the text after the closed piece, by more than its U+FFFD at the end."""

    def add(self, token: int) -> None:
        """Adds a token at the end."""
        self._tokens.append(token)
        if self._bytes:
            self.open = self._is_byte(token) or (self.open and not self._decoded([token]))

    def text(self) -> str:
        """Returns the text after the closed piece, as it stands."""
        return self._decoded(self._tokens)[len(self._before) :]

    def close(self) -> None:
        """Makes the text so far the closed piece."""
        last = self._decoded(self._tokens[self._closed :])
        if last:
            del self._tokens[: self._closed]
        self._closed, self._before = len(self._tokens), last or self._decoded(self._tokens)

    def _is_byte(self, token: int) -> bool:
        name = self._tokenizer.convert_ids_to_tokens(token)
        return isinstance(name, str) and len(name) == 6 and name.startswith("<0x") and name.endswith(">")

    def _decoded(self, tokens: Sequence[int]) -> str:
        return _decoded(self._tokenizer, tokens, self._special)


def _decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], special: bool) -> str:
    text = tokenizer.decode(list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
    return str(text)


def _decoders(tokenizer: PreTrainedTokenizerBase) -> list[str] | None:
    """Returns the kinds of decoder, in turn, of a tokenizer whose text only grows, at known places; None for others."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or not (
        kind.decode is PreTrainedTokenizerFast.decode and kind._decode is PreTrainedTokenizerFast._decode
    ):
        return None
    decoder = tokenizer.backend_tokenizer.decoder
    try:
        kinds = [] if decoder is None else _kinds(json.loads(decoder.__getstate__()))
    except Exception:  # the library's own class, for a decoder that was written in Python
        return None
    names = "".join(f"{name} " for name in kinds)
    return kinds if names in _ALONE or _PARTS.fullmatch(names) else None


def _kinds(decoder: dict[str, Any]) -> list[str]:
    if decoder["type"] == "Sequence":
        return [name for part in decoder["decoders"] for name in _kinds(part)]
    return [str(decoder["type"])]


def _shares(grown: Sequence[str]) -> list[str]:
    """Returns each token's share of the last text; grown: the text after each token, of which parts may be provisional.

    A character counts with the token after which it first stood there. U+FFFD may have stood there for fewer of its
    bytes: it counts with the last token after which it ended the text.
    """
    if len(grown) < 2:
        return list(grown)
    whole, ends = grown[-1], [0]
    for text in grown:
        shared = _shared(text, whole)
        if text.endswith(UNFINISHED) and shared == len(text):
            ends = [min(end, shared - 1) for end in ends]
        ends.append(max(ends[-1], shared))
    return [whole[start:end] for start, end in itertools.pairwise(ends)]


def _shared(text: str, other: str) -> int:
    """Returns how many characters two texts have in common at their start."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((place for place, (one, two) in pairs if one != two), min(len(text), len(other)))
