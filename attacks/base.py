"""What every inversion attack is: fitted on what is public, then shown messages and nothing else."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attacks.ranking import DEPTH, Guesses
from mechanisms.device_channel import CPU, Scores, scores_on
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.models import LanguageModel


@dataclass(frozen=True, slots=True)
class AttackerKnowledge:
    """All that an attacker knows before a message arrives. Nothing here may depend on a private text.

    mechanism: the one that is deployed, both halves. table: the model's embeddings, float32, shape (words, width).
    prior: of one word, float64, shape (words,). documents: tokenized public text, which attacks are fitted on.
    language: the language model that an attacker reads with; None where there is none. seed: of all that is random in
    fitting an attack. Raises UserError for a prior and a table of different vocabularies, and for one with a zero.
    """

    mechanism: ObservableMechanism
    table: NDArray[np.float32]
    prior: NDArray[np.float64]
    documents: Sequence[Sequence[int]] = ()
    language: LanguageModel | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.prior.shape != (len(self.table),):
            raise UserError(f"Expected a prior over {len(self.table)} words, got shape {self.prior.shape}.")
        if not (self.prior > 0).all():
            raise UserError("Expected a prior above 0 for every word: an attacker rules nothing out.")

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self.table)

    @property
    def device(self) -> str:
        """Where the attacker's language model is, and the law's scores are computed: the CPU where there is none."""
        return CPU if self.language is None else self.language.device

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """Logarithm of the prior, float64, shape (words,)."""
        return np.log(self.prior)

    @property
    def channel(self) -> KnownChannel:
        """The mechanism's law; raises UserError where it has none that is known."""
        if not isinstance(self.mechanism, KnownChannel):
            raise UserError(f"Expected a mechanism whose law is known, got {self.mechanism.name!r}, which has none.")
        return self.mechanism

    def placed_scores(self, log_prior: NDArray[np.float64] | None = None) -> Scores:
        """Returns what gives the law's scores, in blocks, where the language model is; raises UserError as channel.

        log_prior: added to every token's scores; None adds nothing.
        """
        return scores_on(self.channel, self.device, log_prior, self.words)


@dataclass(frozen=True, slots=True)
class AttackOptions:
    """What a ladder is told when it makes its attacks; each takes what it has a use for.

    depth: guesses kept per token; the first guess is the same for any depth, and depth=1 is much faster. masked_lm: a
    masked language model to read with, a hub name or a local folder. folder: where fits that take long are kept.
    """

    depth: int = DEPTH
    masked_lm: str | None = None
    folder: Path | None = None


class Attacker(Protocol):
    """An attack after fitting: it is shown messages, and nothing else of a prompt."""

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns ranked guesses for the tokens of each message; no message's guesses depend on the others.

        Raises UserError for a message that the mechanism did not make.
        """
        ...


@runtime_checkable
class Equipped(Protocol):
    """An attack after fitting that reads with something trained, on public text alone."""

    @property
    def trained(self) -> str:
        """The sha256 of what was trained; empty where the attack reads without it."""
        ...

    @property
    def public(self) -> AttackerKnowledge:
        """What the attack knows, its language model as it was trained."""
        ...


class Named(Protocol):
    """An attack, by what a certificate names."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def version(self) -> int:
        """Grows whenever the attack becomes stronger: a certificate that rests on an older one has expired."""
        ...


class InversionAttack(Named, Protocol):
    """The description of an attack: frozen settings, no tensors, so that a certificate can name it."""

    @property
    def context_free(self) -> bool:
        """Whether each token is guessed from its own release alone: theorem 6 bounds these attacks, and no others."""
        ...

    def fit(self, public: AttackerKnowledge) -> Attacker:
        """Returns the attacker; raises UserError where something that the attack needs is missing."""
        ...


@runtime_checkable
class Demanding(Protocol):
    """An attack that not every model and text allows, and that can say so before anything is fitted."""

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError where the attack cannot be made.

        documents: tokenized public ones, which it is fitted on. longest: tokens of the longest prompt to attack.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenByToken:
    """An attacker who looks at one token at a time. rank: from what was observed of tokens to their guesses."""

    mechanism: ObservableMechanism
    rank: Callable[[Observed], Guesses]

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message, all tokens ranked at once."""
        observed = observe(self.mechanism, messages)
        return self.rank(np.concatenate(observed)).split([len(part) for part in observed])


def observe(mechanism: ObservableMechanism, messages: Iterable[bytes]) -> list[Observed]:
    """Returns what is released in each message, an attacker's whole view.

    Raises UserError for no messages, and for a message that the mechanism refuses (another spec's, say).
    """
    observed = [mechanism.observed(message) for message in messages]
    if not observed:
        raise UserError("Expected at least one message to attack, got none.")
    return observed
