"""Private prompts that are attacked, before and after they are released."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from del_audit.service.planting import PlantedTokens


@dataclass(frozen=True, slots=True)
class PrivatePrompts:
    """Prompts of the private split, in tokens, and the unit that each is of: a group, or a document.

    prompt_tokens, prompts_each: the most tokens of a prompt and prompts of a unit, fixed before lengths were seen.
    planted: the same prompts with where their identifiers are; None where none were planted.
    """

    prompts: list[list[int]]
    units: list[Hashable]
    prompt_tokens: int
    prompts_each: int
    planted: list[PlantedTokens] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))

    @property
    def longest(self) -> int:
        """The most tokens that one unit can have, which intervals over units ask for."""
        return self.prompt_tokens * self.prompts_each

    def released(self, release: Callable[[Sequence[int]], bytes]) -> "Releases":
        """Returns them with the messages that a client makes of them, in order."""
        return Releases([release(prompt) for prompt in self.prompts], self.prompts, self.units)


@dataclass(frozen=True, slots=True)
class Releases:
    """Released prompts: messages, the true tokens that score the guesses, and the unit of each, what intervals count.

    The true tokens reach no attack.
    """

    messages: Sequence[bytes]
    truths: Sequence[Sequence[int]]
    documents: Sequence[Hashable]

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, rows: slice) -> "Releases":
        return Releases(self.messages[rows], self.truths[rows], self.documents[rows])

    def chosen(self, rows: Sequence[int]) -> "Releases":
        """Returns the releases of these numbers, in their order."""
        messages, truths = [self.messages[row] for row in rows], [self.truths[row] for row in rows]
        return Releases(messages, truths, [self.documents[row] for row in rows])

    def one_a_document(self, count: int) -> "Releases":
        """Returns the first prompt of each of the first `count` documents."""
        first = {document: row for row, document in reversed(list(enumerate(self.documents)))}
        return self.chosen(sorted(first.values())[:count])
