"""The terms that a certificate sets its client. Nothing heavy is imported for them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """What a certificate allows its client; None where it sets no end.

    prompt_tokens: of the longest prompt. session_tokens: of all prompts together. until: when it expires, with a zone.
    """

    prompt_tokens: int | None = None
    session_tokens: int | None = None
    until: datetime | None = None
