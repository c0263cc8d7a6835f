"""The terms that a certificate sets its client, and what it names. Nothing heavy is imported for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.padding import Padding
from mechanisms.validation import whole_at_least

if TYPE_CHECKING:
    from mechanisms.description import Description

SESSION = timedelta(days=30)
"""The period whose tokens are one session, unless the policy's session_days says otherwise."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a client is about to run.

    encoder: sha256 of the public file that its half needs (mechanisms.mechanism.ClientHalf), DEL's table of codes;
    "none" where it needs none. tokenizer, model: sha256 of the tokenizer.json and of the model.
    """

    spec: "Description"
    encoder: str
    tokenizer: str
    model: str

    @property
    def fingerprint(self) -> str:
        """The hash of all four, hex: tokens are counted under it, whatever certificate or folder names it."""
        return canonical_sha256(
            {
                "encoder": self.encoder,
                "model": self.model,
                "spec": self.spec.fingerprint.hex(),
                "tokenizer": self.tokenizer,
            }
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a certificate allows its client; None where it sets no end.

    prompt_tokens: of the longest prompt. sends: how often a text may be sent, by this user, to any service with this
    tokenizer. session_tokens: of all prompts within one period, which is what a session is. until: when the certificate
    expires, with a zone. padding: the lengths that prompts are filled up to. Raises UserError for counts below 1, a
    period that is none, and a date without a zone.
    """

    prompt_tokens: int | None = None
    sends: int | None = None
    session_tokens: int | None = None
    period: timedelta = SESSION
    until: datetime | None = None
    padding: Padding | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "sends", "session_tokens"):
            value = getattr(self, name)
            if value is not None:
                whole_at_least(name, value, 1)
        if not isinstance(self.period, timedelta) or self.period <= timedelta(0):
            raise UserError(f"Expected period to be a span of time > 0, got period={self.period!r}.")
        if self.until is not None and self.until.tzinfo is None:
            raise UserError(f"Expected until to have a zone, got until={self.until!r}.")
