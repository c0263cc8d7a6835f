"""Is an attack strong where reading is easy, and blind where nothing is sent? Only then does its failure mean privacy.

Two reference mechanisms over the same model and public text: a loud one, whose release shows the embedding nearly
without noise, and a silent one, whose release is noise alone. Both are the real mechanism at extreme settings, so the
whole path, from tokens over wire bytes to ranked guesses, is what is tested.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.outcome import invert
from mechanisms.canonical_json import Json
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.randomness import SimulatedRandomness
from mechanisms.spec import QuantizerSpec

PROMPTS, TOKENS = 8, 24
"""Public prompts that are read in the self-test, and the tokens of each."""
REQUIRED = 0.99
"""Share of readable tokens that an attack must read without noise, unless it states a ceiling of its own."""
LEAST_READABLE = 0.5
"""Share of the test's tokens that must be readable: have an embedding row that no other word has."""
ALARM = 1e-4
"""False-alarm rate of the claim that an attack reads what was not sent."""
SILENCE = 1e9
"""Scale of the silent reference in units of the clip."""
LOUD_SCALE = 1.001
LOUD_FILL = 0.25
"""8 bits a coordinate, as many coordinates as embeddings have, and codes that are hardly clipped: next to no noise."""
_PRINCIPAL = EncoderSettings(whitening=1.0, fill=LOUD_FILL, rotate=False)
"""Codes that are the embeddings' principal coordinates."""


@runtime_checkable
class Ceilinged(Protocol):
    """An attack that cannot read everything even from a clean prompt, and says how much it can."""

    def ceiling(self, public: AttackerKnowledge, prompts: Sequence[Sequence[int]]) -> float:
        """Returns the share of the prompts' tokens that it reads when it is shown the prompts themselves."""
        ...


@runtime_checkable
class Trained(Protocol):
    """An attack whose training takes long, and that can be had after less of it, or with what is trained already."""

    def brief(self, public: AttackerKnowledge) -> InversionAttack:
        """Returns the same attack after little training, or as it is trained for this public world."""
        ...


@runtime_checkable
class Examined(Protocol):
    """An attack that rests on what was trained, and can tell on public text whether that is any good."""

    def complaint(self, public: AttackerKnowledge) -> str:
        """Returns what is wrong with what was trained, in a sentence; empty where nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What one attack reads of public text at the two references.

    tokens: readable ones, whose embedding row no other word has: words that share a row are sent alike, and nobody can
    tell which was meant. loud, silent: tokens read of `tokens`. required: tokens that it had to read without noise.
    allowed: most that chance explains without a release. reason: why it is unusable; empty where it passed.
    """

    attack: str
    version: int
    tokens: int
    loud: int
    silent: int
    required: int
    allowed: int
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the attack may be used."""
        return not self.reason

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names, and `passed`."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "passed": self.passed}


@dataclass(frozen=True, slots=True)
class References:
    """Two public worlds that differ in the mechanism only, and public prompts that no attack is fitted on there.

    public: the world that they were made over, where the attack is to read.
    """

    public: AttackerKnowledge
    loud: AttackerKnowledge
    silent: AttackerKnowledge
    prompts: list[list[int]]

    @classmethod
    def of(cls, public: AttackerKnowledge, prompts: int = PROMPTS, tokens: int = TOKENS) -> "References":
        """Returns the references over a public world; the prompts are the first tokens of its last documents.

        Documents whose first tokens are mostly not readable are passed over where enough others are there.
        Raises UserError for too few documents that are long enough, one more than prompts.
        """
        long_enough = require_documents(public.documents, prompts, tokens)
        alone = readable(public.table)
        suited = [i for i in long_enough if alone[list(public.documents[i][:tokens])].mean() >= LEAST_READABLE]
        kept = set((suited if len(suited) >= prompts else long_enough)[-prompts:])
        documents = [list(document) for i, document in enumerate(public.documents) if i not in kept]
        shown = [list(public.documents[i][:tokens]) for i in sorted(kept)]
        rank = rank_of(public)
        loud = _reference(public, documents, QuantizerSpec(8, rank, 1.0, LOUD_SCALE), _PRINCIPAL)
        silent = _reference(public, documents, QuantizerSpec(8, rank, 1.0, SILENCE), loud.encoder)  # the same codes
        worlds = [
            replace(public, mechanism=mechanism, prior=mechanism.prior, documents=documents)
            for mechanism in (loud, silent)
        ]
        return cls(public, worlds[0], worlds[1], shown)


def require_documents(documents: Sequence[Sequence[int]], prompts: int = PROMPTS, tokens: int = TOKENS) -> list[int]:
    """Returns which public documents are long enough for the self-test; raises UserError for no more than prompts."""
    long_enough = [index for index, document in enumerate(documents) if len(document) >= tokens]
    if len(long_enough) <= prompts:
        raise UserError(
            f"Expected more than {prompts} public documents of {tokens} tokens or more, {prompts} of them for the "
            f"self-test of the attacks, got {len(long_enough)}. Add public text."
        )
    return long_enough


def self_test(attack: InversionAttack, references: References, seed: int = 0) -> SelfTest:
    """Returns how the attack does at both references, fitted for each, briefly; raises UserError as its fit does.

    An attack with a ceiling is held against that: a masked language model does not know every word even from a clean
    context. Only readable tokens count; where they are under LEAST_READABLE of the test's, the attack fails.
    """
    truth = np.concatenate([np.asarray(prompt) for prompt in references.prompts])
    counted = readable(references.loud.table)[truth]
    tokens = int(counted.sum())
    if tokens < LEAST_READABLE * len(truth):
        reason = (
            f"Only {tokens} of the {len(truth)} tokens of the self-test have an embedding row that no other word has, "
            f"where {LEAST_READABLE:.0%} are needed."
        )
        return SelfTest(attack.name, attack.version, tokens, 0, 0, tokens, 0, reason)
    attack = attack.brief(references.public) if isinstance(attack, Trained) else attack
    loud = _hits(attack, references.loud, references.prompts, counted, seed)
    silent = _hits(attack, references.silent, references.prompts, counted, seed)
    ceiling = attack.ceiling(references.loud, references.prompts) if isinstance(attack, Ceilinged) else 1.0
    required = int(np.ceil(REQUIRED * ceiling * tokens))
    commonest = float(np.bincount(truth[counted]).max() / tokens)
    allowed = int(binom.isf(ALARM, tokens, commonest))
    reason = ""
    if loud < required:
        reason = f"It reads {loud} of {tokens} tokens without noise, where {required} are expected."
    elif silent > allowed:
        reason = f"It reads {silent} of {tokens} tokens from noise alone, where chance explains {allowed}."
    elif isinstance(attack, Examined):
        reason = attack.complaint(references.public)
    return SelfTest(attack.name, attack.version, tokens, loud, silent, required, allowed, reason)


def readable(table: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns whether each word's row is equal to no other word's, shape (words,); table: shape (words, width)."""
    rows = [row.tobytes() for row in np.asarray(table) + 0.0]  # -0.0 and 0.0 are equal, and differ in their bytes
    count = Counter(rows)
    return np.array([count[row] == 1 for row in rows], dtype=np.bool_)


def _hits(
    attack: InversionAttack,
    public: AttackerKnowledge,
    prompts: Sequence[Sequence[int]],
    counted: NDArray[np.bool_],
    seed: int,
) -> int:
    """Returns how many of the tokens that count are read; counted: shape (tokens of all prompts,)."""
    source = SimulatedRandomness(seed, "self-test")
    messages = [public.mechanism.release(prompt, source) for prompt in prompts]
    return int(invert(attack, attack.fit(public), messages, prompts).hits[counted].sum())


def _reference(
    public: AttackerKnowledge,
    documents: Sequence[Sequence[int]],
    spec: QuantizerSpec,
    encoder: EncoderSettings | Encoder,
) -> Pipeline:
    return assemble(public.table, documents, spec, encoder, "posterior-mean-plain")


def rank_of(public: AttackerKnowledge) -> int:
    """Returns how many principal coordinates the table has, less those that rounding alone makes."""
    weighted = (public.table - public.prior @ public.table) * np.sqrt(public.prior)[:, None]
    spread = np.linalg.eigvalsh(weighted.T @ weighted)
    return max(1, int((spread > spread.max() * 1e-9).sum()))
