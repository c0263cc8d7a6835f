"""Small tokenizers of every kind of decoder, made without files: each knows all bytes, or none."""

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["▁", "▁▁", "▁a", "a", "1", "b", "▁the", ".", "'s", "é", "🙂", "\ufffd", "▁\ufffd", "x\ufffd", "\n"]
SPECIAL = ["<s>", "</s>"]


def _fast(tokenizer: Tokenizer) -> Any:
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(" und ", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_level() -> Any:
    """GPT-2's kind: bytes as letters, and a few pieces that end or begin inside a character."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("Ġ", "a"), ("t", "h"), ("â", "Ĥ"), ("Ĥ", "¬"), ("a", "ð"), ("ï", "¿"), ("ï¿", "½")]
    vocabulary = {name: index for index, name in enumerate([*letters, *(a + b for a, b in pairs)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _fast(tokenizer)


def _byte_fallback(*ends: Any, unigram: bool = False) -> Any:
    names = ["<unk>", *BYTES, *WORDS]
    if unigram:
        tokenizer = Tokenizer(models.Unigram([(name, -1.0) for name in names], 0, byte_fallback=True))
    else:
        tokenizer = Tokenizer(
            models.BPE(
                {name: index for index, name in enumerate(names)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True
            )
        )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    return _fast(tokenizer)


def llama() -> Any:
    """Llama 2's kind: byte tokens, and the first space of a text is dropped."""
    return _byte_fallback(decoders.Strip(" ", 1, 0))


def gemma() -> Any:
    """Gemma's kind: byte tokens, no space is dropped."""
    return _byte_fallback(unigram=True)


def word_piece() -> Any:
    """BERT's kind: `##` continues a word."""
    names = ["<unk>", "a", "cat", "##s", "##é", "1", "##2", ".", ",", "n't", "\ufffd", "##\ufffd", "##"]
    tokenizer = Tokenizer(models.WordPiece({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _fast(tokenizer)


def metaspace() -> Any:
    """T5's kind: the first piece loses its space."""
    tokenizer = Tokenizer(models.Unigram([(name, -1.0) for name in ["<unk>", *WORDS]], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _fast(tokenizer)


def suffixed() -> Any:
    """The first GPT's kind: `</w>` ends a word, and is a space only where another token follows."""
    names = ["<unk>", "a", "a</w>", "cat</w>", "é", "é</w>", "1</w>", "\ufffd</w>", "</w>"]
    tokenizer = Tokenizer(
        models.BPE({name: index for index, name in enumerate(names)}, [], unk_token="<unk>", end_of_word_suffix="</w>")
    )
    tokenizer.decoder = decoders.BPEDecoder()
    return _fast(tokenizer)


def without_decoder() -> Any:
    """Tokens joined with spaces."""
    names = {name: index for index, name in enumerate(["<unk>", "a", "cat", "é", "\ufffd"])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _fast(tokenizer)


def rewriting() -> Any:
    """A decoder that takes text back: ` .` becomes `.` once all tokens are joined."""
    return _byte_fallback(decoders.Replace(" .", "."), decoders.Replace("a1", "b"))


def of_python() -> Any:
    """A tokenizer that is written in Python, whose last word changes the first letter."""

    class Words(PreTrainedTokenizer):
        vocab_size = 40

        def get_vocab(self) -> dict[str, int]:
            return {f"w{index}": index for index in range(40)}

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return text.split()

        def _convert_token_to_id(self, token: str) -> int:
            return int(token[1:]) if token[1:].isdigit() else 0

        def _convert_id_to_token(self, index: int) -> str:
            return f"w{index}"

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens[-1:]).upper() + " ".join(tokens)

    return Words()


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "Llama 2": llama,
    "Gemma": gemma,
    "WordPiece": word_piece,
    "Metaspace": metaspace,
    "suffixes": suffixed,
    "no decoder": without_decoder,
    "rewriting": rewriting,
    "Python": of_python,
}
GROWING = frozenset(KINDS) - {"rewriting", "Python"}
"""Those whose text comes while it is written."""
