"""Prompts with the responses that really followed them, the document each is from, and who stands in for whom."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from del_audit.statistics.bootstrap import group
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.validation import at_least


@dataclass(frozen=True, slots=True)
class Prompts:
    """Private prompts: their messages, their clean tokens, and the responses that really followed.

    documents: which document each is from; empty where each is a document of its own. per_document: the most prompts
    that one document can have, fixed before any is drawn; intervals over documents use it.
    """

    messages: list[bytes]
    clean: list[list[int]]
    responses: list[list[int]]
    documents: list[Hashable] = field(default_factory=list)
    per_document: int = 1

    def __post_init__(self) -> None:
        count = len(self.messages)
        lengths = (len(self.clean), len(self.responses), len(self.documents) or count)
        if set(lengths) != {count}:
            raise UserError(f"Expected as many clean prompts, responses and documents as {count} messages: {lengths}.")

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def clusters(self) -> list[Hashable]:
        """The document of each prompt."""
        return self.documents or list(range(len(self)))

    @property
    def numbers(self) -> list[int]:
        """The document of each prompt, numbered in the order of first appearance."""
        return [int(number) for number in group(self.clusters, len(self)).numbers]

    @property
    def sample(self) -> str:
        """sha256 of what is asked and of what it comes from: two mechanisms with the same one are paired."""
        tokens = [[[int(token) for token in row] for row in rows] for rows in (self.clean, self.responses)]
        text = json.dumps([tokens, self.numbers])
        return hashlib.sha256(text.encode()).hexdigest()

    def first(self, count: int) -> "Prompts":
        """Returns the first count of them."""
        messages, clean, responses = self.messages[:count], self.clean[:count], self.responses[:count]
        return Prompts(messages, clean, responses, self.documents[:count], self.per_document)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Documents cut into prompts and responses, clean tokens; documents: which document each cut is from.

    per_document: the most cuts that one document can have, fixed before any is made.
    """

    clean: list[list[int]]
    responses: list[list[int]]
    documents: list[Hashable]
    per_document: int = 1

    def __len__(self) -> int:
        return len(self.clean)

    def released(self, release: Callable[[list[int]], bytes]) -> Prompts:
        """Returns them with the messages that a mechanism's client makes of them, in order."""
        messages = [release(tokens) for tokens in self.clean]
        return Prompts(messages, self.clean, self.responses, self.documents, self.per_document)


def cut_prompts(
    documents: Sequence[Sequence[int]],
    prompt_tokens: int,
    response_tokens: int,
    per_document: int = 1,
    limit: int | None = None,
    ids: Sequence[Hashable] | None = None,
) -> Cuts:
    """Returns prompts of tokenized documents, each with the tokens that follow it.

    A document is cut from its start into windows that do not overlap, at most per_document of them. limit: of all
    windows; where it bites, every document's first window goes before any second, since documents are what an
    interval counts. ids: names of the documents, their index if left out.
    Raises UserError for lengths, per_document or limit below 1, and for documents that are all too short.
    """
    for name, value in (
        ("prompt_tokens", prompt_tokens),
        ("response_tokens", response_tokens),
        ("per_document", per_document),
        ("limit", 1 if limit is None else limit),
    ):
        at_least(name, value, 1)
    names = list(range(len(documents))) if ids is None else list(ids)
    if len(names) != len(documents):
        raise UserError(f"Expected one id for each of {len(documents)} documents, got {len(names)}.")
    window = prompt_tokens + response_tokens
    starts = [
        (turn, index)
        for turn in range(per_document)
        for index, tokens in enumerate(documents)
        if len(tokens) >= (turn + 1) * window
    ][:limit]
    if not starts:
        raise UserError(f"Expected a document of {window} tokens or more, got {len(documents)} shorter ones.")
    cuts = Cuts([], [], [], per_document)
    for turn, index in sorted(starts, key=lambda start: (start[1], start[0])):
        tokens = list(documents[index][turn * window : (turn + 1) * window])
        _add(cuts, tokens[:prompt_tokens], tokens[prompt_tokens:], names[index])
    return cuts


def cut_words(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    prompt_words: int,
    minimum_words: int,
    response_tokens: int,
    ids: Sequence[Hashable] | None = None,
    limit: int | None = None,
    per_document: int = 1,
) -> Cuts:
    """Returns the first words of each text as its prompt and the rest as its response, the paper's protocol.

    WikiText-2: prompt_words=50, minimum_words=100, response_tokens=200; PTB: 20, 30, 50. A shorter text is left out,
    a response is cut after response_tokens. ids: the document of each text, such as articles() gives; the text itself
    if left out. per_document: the most texts of one document that are taken, the first ones.
    Raises UserError where the words do not fit together, for per_document < 1, and where no text is long enough.
    """
    if not 1 <= prompt_words < minimum_words:
        raise UserError(f"Expected 1 <= prompt_words < minimum_words={minimum_words}, got prompt_words={prompt_words}.")
    for argument, value in (("response_tokens", response_tokens), ("per_document", per_document)):
        at_least(argument, value, 1)
    names = list(range(len(texts))) if ids is None else list(ids)
    cuts, taken = Cuts([], [], [], per_document), Counter[Hashable]()
    for text, name in zip(texts, names, strict=True):
        words = text.split()
        if len(words) < minimum_words or taken[name] >= per_document or (limit is not None and len(cuts) >= limit):
            continue
        taken[name] += 1
        prompt, rest = " ".join(words[:prompt_words]), " " + " ".join(words[prompt_words:])
        encoded = [list(tokenizer(part, add_special_tokens=False).input_ids) for part in (prompt, rest)]
        _add(cuts, encoded[0], encoded[1][:response_tokens], name)
    if not cuts:
        raise UserError(f"Expected a text of {minimum_words} words or more, got {len(texts)} shorter ones.")
    return cuts


def articles(lines: Iterable[str]) -> tuple[list[str], list[int]]:
    """Returns the paragraphs of WikiText, one a line, and the article each is from, counted from 0.

    A line ` = Title = ` between empty lines opens an article; ` = = Section = = ` stays within it. Where the corpus
    has lost its empty lines, any such line does: some tables hold one, and split their article in two.
    Headings and empty lines are left out.
    """
    rows = [line.strip() for line in lines]
    spaced = "" in rows
    paragraphs: list[str] = []
    numbers: list[int] = []
    article = 0
    for before, text, after in zip(["", *rows], rows, [*rows[1:], ""], strict=False):
        heading = re.fullmatch(r"= .* =", text) is not None and not (spaced and (before or after))
        if heading and re.fullmatch(r"= (?!=).*[^=] =", text):
            article += 1
        elif text and not heading:
            paragraphs.append(text)
            numbers.append(article)
    known = group(numbers, len(numbers)).numbers
    return paragraphs, known.tolist()


def strangers(clusters: Sequence[Hashable]) -> list[int]:
    """Returns for each prompt the index of another user's: a permutation that meets no prompt of the same document.

    Prompts in the order of their documents move on by the size of the largest document, so that one prompt a document
    meets the next. Raises UserError where one document has more than half of the prompts: then there is none.
    """
    grouped = group(clusters, len(clusters))
    order = sorted(range(len(clusters)), key=lambda index: int(grouped.numbers[index]))
    sizes = [int((grouped.numbers == document).sum()) for document in range(grouped.documents)]
    step = max(sizes, default=0)
    if 2 * step > len(clusters):
        raise UserError(
            f"Expected no document with more than half of the {len(clusters)} prompts, got one with {step}: "
            "another user's prompt must come from another document. Cut fewer prompts a document."
        )
    other = [0] * len(clusters)
    for place, index in enumerate(order):
        other[index] = order[(place + step) % len(order)]
    return other


def _add(cuts: Cuts, clean: list[int], response: list[int], document: Hashable) -> None:
    cuts.clean.append(clean)
    cuts.responses.append(response)
    cuts.documents.append(document)
