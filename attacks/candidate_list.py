"""Which text of a list was sent? The exact likelihood of whole texts, for an attacker who need not read a single word.

Tokens are released independently, so the log-likelihood of a text is the sum of its tokens' (docs/theory.md, theorem
7). Under equal priors no attacker names the text that was sent more often than the one who takes the likeliest.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.base import AttackerKnowledge, observe
from attacks.registry import INFORMED_VERSIONS
from attacks.self_test import ALARM, References, SelfTest
from mechanisms.channel import MEMORY_LIMIT
from mechanisms.device_channel import Scores, looked_up
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import SimulatedRandomness, simulation_generator

OPENING = 8
"""Tokens at the start of a public window that no other text of its list starts with."""
TIE = 1e-3
"""Nats. Two texts whose log-likelihoods differ by less are tied: scores are float32, and such a lead is a coin toss."""
SELF_TEST_LIST = 1_000
"""Texts of the self-test's list at most."""
DRAWN_TEXTS = 400
"""Texts of the self-test that are drawn from its list and released at the deployed noise."""

Floats = NDArray[np.float64]
Texts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CandidateList:
    """Picks one of a list of texts by exact likelihood; knows the mechanism's law and the list, nothing else."""

    name: str = "exact likelihood over a list of texts"
    version: int = INFORMED_VERSIONS["candidate-list"]

    def fit(self, public: AttackerKnowledge) -> "ListReader":
        """Returns the attacker; raises UserError where the law is not known.

        A mechanism that sends each text several times (`repeated`, `history`) has the law of all its releases together,
        so they are pooled.
        """
        return ListReader(public, public.placed_scores())


@dataclass(frozen=True, slots=True)
class ListReader:
    """The attacker after fitting: shown messages and lists of texts. scores: the law's, where the model is."""

    public: AttackerKnowledge
    scores: Scores

    def log_likelihood(self, message: bytes, candidates: Texts) -> Floats:
        """Returns log P(message | text) of each text, less a constant of the message, nats, shape (texts,).

        candidates: int64, shape (texts, tokens), of as many tokens as the message. -inf where a text cannot have been
        sent. Raises UserError for another number of tokens, for words outside the vocabulary, for what is no array of
        whole numbers, and for a message that the mechanism did not make.
        """
        return self.of_observed(self.observed(message), candidates)

    def observed(self, message: bytes) -> Observed:
        """Returns what the message shows of each token: its first rows are what its first tokens alone would show."""
        return observe(self.public.mechanism, [message])[0]

    def of_observed(self, observed: Observed, candidates: Texts) -> Floats:
        """Returns log_likelihood of what was observed of a text, or of its first tokens; raises UserError likewise."""
        *_, total = self.running(observed, candidates)
        return total

    def running(self, observed: Observed, candidates: Texts) -> Iterator[Floats]:
        """Yields of_observed of the first token, of the first two, and so on: one array, which the next overwrites.

        Each token is scored once against all words, and the scores of the candidates' words are looked up, those of
        many tokens together.
        """
        columns = self._columns(candidates, len(observed))
        total = np.zeros(columns.shape[1])
        at_once = max(1, MEMORY_LIMIT // columns[0].nbytes)
        for rows, block in self.scores(observed):
            for start in range(0, len(block), at_once):
                part = slice(start, start + at_once)
                for scores in looked_up(block[part], columns[rows][part]):
                    total += scores
                    yield total

    def _columns(self, candidates: Texts, tokens: int) -> Texts:
        """Returns the candidates' words, token by token, shape (tokens, texts)."""
        array = np.asarray(candidates)
        if array.ndim != 2 or array.dtype.kind not in "iu" or not len(array):
            raise UserError(
                "Expected candidates of whole numbers, shape (texts >= 1, tokens), "
                f"got {array.dtype} of shape {array.shape}."
            )
        if array.shape[1] != tokens:
            raise UserError(
                f"Expected candidates of {tokens} tokens, as in the message, got {array.shape[1]}. A message shows its "
                "number of tokens: leave texts of another length out."
            )
        if array.min() < 0 or array.max() >= self.public.words:
            outside = array.min() if array.min() < 0 else array.max()
            raise UserError(
                f"Expected candidates' tokens in 0..{self.public.words - 1}, got {outside}: another tokenizer's?"
            )
        return np.ascontiguousarray(array.T)


def picked(log_likelihood: Floats, truth: int) -> float:
    """Returns the chance that this text is named: 0 where another is likelier, else 1 / (texts that are tied with it).

    That is the attacker who names the likeliest text, and draws among equals: a tie is worth neither more nor less.

    >>> [picked(np.array([-3.0, -1.0, -1.0]), text) for text in range(3)]
    [0.0, 0.5, 0.5]
    """
    own = log_likelihood[truth]
    if (log_likelihood > own + TIE).any():
        return 0.0
    return 1.0 / int((log_likelihood >= own - TIE).sum())


def public_windows(
    documents: Sequence[Sequence[int]], tokens: int, count: int, but: Iterable[Sequence[int]], seed: int
) -> Texts:
    """Returns up to `count` windows of public text, int64, shape (windows, tokens): what a text is hidden among.

    No two start with the same OPENING tokens, and none starts as a text of `but`. Documents come in an order that the
    seed draws, each one's beginning before any later window, since texts that are sent begin as documents do. Windows
    of one document overlap only where too few are left that do not.
    """
    order = simulation_generator(seed, "windows of public text").permutation(len(documents)).tolist()
    taken = {tuple(int(word) for word in text[:OPENING]) for text in but}
    found: list[Sequence[int]] = []
    last = max(map(len, documents), default=0) - tokens
    for start in sorted(range(last + 1), key=lambda start: start % tokens):
        for one in order if len(found) < count else ():
            window = documents[one][start : start + tokens]
            opening = tuple(window[:OPENING])
            if len(window) == tokens and opening not in taken:
                taken.add(opening)
                found.append(window)
    return np.array(found[:count], dtype=np.int64).reshape(-1, tokens)


def self_test_of_lists(
    attack: CandidateList, references: References, deployed: AttackerKnowledge, seed: int = 0
) -> SelfTest:
    """Returns how the attack picks public texts out of a list at both references; `tokens` counts the texts.

    The list is the references' prompts and windows of public text. Without noise every prompt must be picked, from
    noise alone no more than chance explains. At the noise that is deployed the attack must be as often right as it is
    sure: it is only where its law is the release's (`_misjudged`). Raises UserError as fit does.
    """
    texts = np.asarray(references.prompts, dtype=np.int64)
    windows = public_windows(references.loud.documents, texts.shape[1], SELF_TEST_LIST - len(texts), texts, seed)
    listed, count = np.concatenate([texts, windows]), len(texts)
    loud, silent = (
        int(np.sum(_picks(attack, world, listed, range(count), seed)[texts.shape[1]], axis=0)[0])
        for world in (references.loud, references.silent)
    )
    allowed = int(binom.isf(ALARM, count, 1 / len(listed)))
    reason = ""
    if loud < count:
        reason = f"It picks out {loud} of {count} texts without noise, where {count} are expected."
    elif silent > allowed:
        reason = f"It picks out {silent} of {count} texts from noise alone, where chance explains {allowed}."
    else:
        reason = _misjudged(attack, deployed, listed, seed)
    return SelfTest(attack.name, attack.version, count, loud, silent, count, allowed, reason)


def _misjudged(attack: CandidateList, deployed: AttackerKnowledge, listed: Texts, seed: int) -> str:
    """Returns at which length the attack is more or less often right than it is sure; empty where at none.

    Of texts that are drawn from the list, the one that is named is the right one with its posterior probability, by
    the exact law and by no other. Given the message, what remains is within an interval of width 1, so that the sum
    over n texts leaves +-sqrt(n log(2 / alarm) / 2) with probability `alarm` at most (Hoeffding, 1963).
    """
    drawn = simulation_generator(seed, "self-test of lists").integers(0, len(listed), DRAWN_TEXTS).tolist()
    lengths = _picks(attack, deployed, listed, drawn, seed)
    slack = float(np.sqrt(DRAWN_TEXTS * np.log(2 * len(lengths) / ALARM) / 2))
    for tokens, pairs in lengths.items():
        right, sure = np.sum(pairs, axis=0)
        if abs(right - sure) > slack:
            return (
                f"From the first {tokens} tokens at the deployed noise it expects to pick "
                f"{sure:.0f} of {DRAWN_TEXTS} texts and picks {right:.0f}, where chance explains a difference of "
                f"{slack:.0f}: its law is not the release's."
            )
    return ""


def _picks(
    attack: CandidateList, public: AttackerKnowledge, listed: Texts, sent: Sequence[int], seed: int
) -> dict[int, list[tuple[float, float]]]:
    """Returns for the first 1, 2, 4, ... and all tokens of each text sent: whether it is picked, how sure the pick is.

    sent: numbers of listed texts, each released once. The first is `picked`, the second a posterior probability.
    """
    reader, source = attack.fit(public), SimulatedRandomness(seed, "self-test of lists")
    whole = listed.shape[1]
    found: dict[int, list[tuple[float, float]]] = {}
    for text in sent:
        observed = reader.observed(public.mechanism.release(listed[text].tolist(), source))
        for tokens, scores in enumerate(reader.running(observed, listed), 1):
            if tokens & (tokens - 1) == 0 or tokens == whole:
                sure = 1 / float(np.exp(scores - scores.max()).sum())
                found.setdefault(tokens, []).append((picked(scores, text), sure))
    return found
