"""How long prompts are and how many are measured, so that a table's private part has enough of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from del_audit.statistics.planning import Asked, Assumed, plan_documents
from mechanisms.errors import UserError

CHARACTERS_PER_TOKEN = 5
"""More than tokenizers of English need, so that fewer tokens are expected than there are."""
LENGTHS = ((64, 32), (48, 32), (32, 16), (16, 8), (8, 4))
"""Tokens of a prompt and of the text that follows it, the longest first."""
MOST_PROMPTS, MOST_CONTEXTS = 200, 160
FEWEST_PROMPTS = 8
ATTACK_LIMIT, EXPECTED, INTRACLUSTER = 0.2, 0.15, 0.05


@dataclass(frozen=True, slots=True)
class Sizes:
    """prompt, response: tokens. people: of the private part. long_enough: of them with a row that holds both.

    needed: people that decide the limit on attacks, if 15% of the tokens are recovered.
    """

    prompt: int
    response: int
    people: int
    long_enough: int
    needed: int

    @property
    def prompts(self) -> int:
        """Prompts whose utility is measured."""
        return min(MOST_PROMPTS, self.long_enough)

    @property
    def contexts(self) -> int:
        """Prompts that attacks on contexts read."""
        return min(MOST_CONTEXTS, self.people)


def sizes_of(texts: Sequence[str], groups: Sequence[str]) -> Sizes:
    """Returns the sizes for private texts; groups: whose each is.

    Prompts are as long as three quarters of those people have text for who have enough for the shortest.
    Raises UserError where fewer than FEWEST_PROMPTS people have enough for the shortest prompts.
    """
    longest: dict[str, int] = {}
    for text, group in zip(texts, groups, strict=True):
        longest[group] = max(longest.get(group, 0), len(text) // CHARACTERS_PER_TOKEN)

    def enough(prompt: int, response: int) -> int:
        return sum(tokens >= prompt + response for tokens in longest.values())

    least = enough(*LENGTHS[-1])
    if least < FEWEST_PROMPTS:
        raise UserError(
            f"Expected at least {FEWEST_PROMPTS} people or rows with {sum(LENGTHS[-1]) * CHARACTERS_PER_TOKEN} "
            f"characters in the private part, got {least} of {len(longest)}: add text, or give a larger private part."
        )
    prompt, response = next(
        pair for pair in LENGTHS if enough(*pair) >= min(MOST_PROMPTS, max(FEWEST_PROMPTS, 3 * least // 4))
    )
    needed = plan_documents("unseen-document", Assumed(EXPECTED, prompt, INTRACLUSTER), Asked(ATTACK_LIMIT)).documents
    return Sizes(prompt, response, len(longest), enough(prompt, response), needed)
