"""Parts of the attacked tokens that matter: rare words, names, numbers, identifiers.

What makes a slice is public (the prior, the public text's words) or the true text, which the evaluator has.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.configuration.slice_names import NAMES, NUMBERS, RARE_WORDS, band_name
from del_audit.statistics.bootstrap import group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_rates
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.text_pieces import token_texts
from mechanisms.validation import at_least

FEWEST_TOKENS = 30
"""A slice of fewer has no figure."""
BANDS = (100, 1_000, 10_000)
RARE = 1e-5
PUBLIC_WORDS = 1_000
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_OPENS = re.compile(r"(?:^|[.!?:;\n…])[\s\"'“”‘’(\[*-]*$")


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of an outcome's tokens: chosen, bool, shape (tokens,), and the rule that chose them, in words."""

    name: str
    rule: str
    chosen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """success: share of the slice's tokens read; None where there are too few, and then why says so.

    above: a lower limit of success, corrected for the attacks that are judged together.
    """

    name: str
    rule: str
    tokens: int
    documents: int
    success: Figure | None
    baseline: Figure | None
    why: str = ""
    above: float | None = None

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


def frequency_slices(truth: NDArray[np.int32], prior: NDArray[np.float64]) -> list[Slice]:
    """Returns the bands of BANDS by rank in the public prior, and the rare words, of prior below RARE.

    prior: of one word, shape (words,). Raises UserError for a token outside it.
    """
    if truth.size and not 0 <= int(truth.min()) <= int(truth.max()) < len(prior):
        raise UserError(f"Expected true tokens in 0..{len(prior) - 1}, got {int(truth.min())}..{int(truth.max())}.")
    ranks = np.empty(len(prior), dtype=np.int64)
    ranks[np.argsort(-prior, kind="stable")] = np.arange(1, len(prior) + 1)
    of = ranks[truth]
    bands = [
        Slice(band_name(low, high), "by rank in the public prior", (of >= low) & (of <= high))
        for low, high in _bands(len(prior))
    ]
    return [*bands, Slice(RARE_WORDS, f"of public prior below {RARE:g}", prior[truth] < RARE)]


def slice_names(words: int) -> list[str]:
    """Returns the names of all slices of a vocabulary of so many words.

    >>> slice_names(500)
    ['words 1 to 100', 'words 101 to 500', 'rare words', 'names', 'numbers']
    """
    return [*(band_name(low, high) for low, high in _bands(words)), RARE_WORDS, NAMES, NUMBERS]


def _bands(words: int) -> list[tuple[int, int]]:
    """Returns the first and last rank of each band of a vocabulary."""
    edges = [0, *(edge for edge in BANDS if edge < words), words]
    return [(low + 1, high) for low, high in itertools.pairwise(edges)]


def has_words(texts: Iterable[str]) -> bool:
    """Returns whether a text has a word, as text_slices needs of public text."""
    return any(_WORD.search(text) for text in texts)


def text_slices(outcome: Outcome, tokenizer: PreTrainedTokenizerBase, public: Iterable[str]) -> list[Slice]:
    """Returns names and numbers among the true tokens.

    public: texts, whose PUBLIC_WORDS commonest words, in any case, are no names. tokenizer: has decode.
    Raises UserError for an outcome that lacks tokens of its prompts, since names need the text around them.
    """
    common = _commonest(public)
    names, numbers = np.zeros(len(outcome), dtype=bool), np.zeros(len(outcome), dtype=bool)
    for start, tokens in whole_prompts(outcome, outcome.truth):
        pieces = token_texts(tokenizer, tokens.tolist())
        ends = np.cumsum([len(piece) for piece in pieces])
        begins = ends - [len(piece) for piece in pieces]
        rows = slice(start, start + len(tokens))
        for low, high in name_spans("".join(pieces), common):
            names[rows] |= (begins < high) & (ends > low)
        numbers[rows] = [any(character.isdigit() for character in piece) for piece in pieces]
    rule = (
        "tokens of a word with a capital first and a small letter later, not at the start of a prompt or line nor "
        f"after one of . ! ? : ; that is not among the {PUBLIC_WORDS} commonest words of the public text in any case"
    )
    return [Slice(NAMES, rule, names), Slice(NUMBERS, "tokens with a digit", numbers)]


def name_spans(text: str, common: frozenset[str]) -> list[tuple[int, int]]:
    """Returns the characters [start, stop) of each name in the text.

    >>> name_spans("The nurse, Ann Oakley, saw him. Then Ann left on Monday.", frozenset({"monday"}))
    [(11, 14), (15, 21), (37, 40)]
    """
    return [
        match.span()
        for match in _WORD.finditer(text)
        if match[0][0].isupper()
        and any(letter.islower() for letter in match[0])
        and match[0].lower() not in common
        and match[0][:2] not in ("I'", "I’")
        and not _OPENS.search(text[max(0, match.start() - 20) : match.start()])
    ]


def whole_prompts(outcome: Outcome, column: NDArray[np.int32]) -> list[tuple[int, NDArray[np.int32]]]:
    """Returns the first row of each prompt and its part of a column; raises UserError where tokens are missing."""
    starts = np.flatnonzero(outcome.position == 0)
    parts = np.split(column, starts[1:])
    whole = len(outcome) and np.array_equal(outcome.position, np.concatenate([np.arange(len(part)) for part in parts]))
    if not whole or not np.array_equal(np.unique(outcome.prompt), np.arange(len(outcome.documents))):
        raise UserError("Expected an outcome of whole prompts, got one that lacks some of their tokens.")
    return list(zip(starts.tolist(), parts, strict=True))


def spread_of_each(part: Slice, outcome: Outcome, count: int) -> Slice:
    """Returns at most `count` tokens of a slice in each document, evenly spread over it; `longest=count` is known then.

    A slice of few tokens per document has a wide interval where any document might consist of such tokens alone. Which
    tokens stay depends on their places alone, never on what was recovered, and no end of a document is favoured.
    count: fixed beforehand. Raises UserError for count < 1, and for a slice of another number of tokens.
    """
    at_least("count", count, 1)
    if part.chosen.shape != (len(outcome),):
        raise UserError(f"Expected slice {part.name!r} of {len(outcome)} tokens, got shape {part.chosen.shape}.")
    kept, rows = np.zeros(len(outcome), dtype=bool), np.flatnonzero(part.chosen)
    numbers = group(outcome.clusters[rows].tolist(), len(rows)).numbers
    order = np.argsort(numbers, kind="stable")
    for place in np.split(rows[order], np.flatnonzero(np.diff(numbers[order])) + 1):
        many = len(place)
        kept[place if many <= count else place[(2 * np.arange(count) + 1) * many // (2 * count)]] = True
    return Slice(part.name, f"{part.rule}; at most {count} per document, evenly spread", kept)


def measure_slice(
    part: Slice,
    outcome: Outcome,
    baseline: Outcome,
    seed: int,
    confidence: float = 0.95,
    fewest: int = FEWEST_TOKENS,
    *,
    longest: int,
    together: int = 1,
) -> SliceFigure:
    """Returns measure_slices of one attack."""
    return measure_slices(part, [outcome], baseline, seed, confidence, fewest, longest=longest, together=together)[0]


def measure_slices(
    part: Slice,
    outcomes: Sequence[Outcome],
    baseline: Outcome,
    seed: int,
    confidence: float = 0.95,
    fewest: int = FEWEST_TOKENS,
    *,
    longest: int,
    together: int = 1,
) -> list[SliceFigure]:
    """Returns what each attack read of a slice, beside the baseline; no figure for too few tokens or one document.

    outcomes: of the same prompts. longest: the most tokens that one document can have, fixed before any is drawn: all
    of them may be of the slice. together: attacks that are judged together, which the lower limit is corrected for.
    Raises UserError for a slice of another number of tokens, for outcomes of different prompts, and for a document
    with more than `longest` tokens of the slice.
    """
    require_same_prompts([*outcomes, baseline])
    if part.chosen.shape != (len(baseline),):
        raise UserError(f"Expected slice {part.name!r} of {len(baseline)} tokens, got shape {part.chosen.shape}.")
    clusters, tokens = baseline.clusters[part.chosen], int(part.chosen.sum())
    documents = len(np.unique(clusters))
    about = (part.name, part.rule, tokens, documents)
    if tokens < fewest or documents < 2:
        why = f"too few tokens: {tokens} of {documents} documents, where {fewest} of two documents are needed"
        return [SliceFigure(*about, None, None, why) for _ in outcomes]
    hits = np.stack([outcome.hits[part.chosen] for outcome in (baseline, *outcomes)])
    asked = (clusters, longest, f"share of {part.name} recovered", "tokens", seed)
    theirs, *ours = clustered_rates(hits, *asked, confidence)
    corrected = clustered_rates(hits[1:], *asked, 1 - (1 - confidence) / together)
    return [SliceFigure(*about, own, theirs, "", limit.lower) for own, limit in zip(ours, corrected, strict=True)]


def require_same_prompts(outcomes: Sequence[Outcome]) -> None:
    """Raises UserError for outcomes that are not of the same true tokens, prompts and documents."""
    first = outcomes[0]
    for other in outcomes[1:]:
        same = first.documents == other.documents and all(
            np.array_equal(getattr(first, name), getattr(other, name)) for name in ("prompt", "position", "truth")
        )
        if not same:
            raise UserError(
                f"Expected outcomes of the same prompts, got others in {first.attack!r} and {other.attack!r}."
            )


def _commonest(public: Iterable[str]) -> frozenset[str]:
    counts: Counter[str] = Counter()
    for text in public:
        counts.update(word.lower() for word in _WORD.findall(text))
    if not counts:
        raise UserError("Expected public text with at least one word, got none.")
    return frozenset(word for word, _ in counts.most_common(PUBLIC_WORDS))
