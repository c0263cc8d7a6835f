"""What the proxy sends of a conversation: fresh releases of new turns, and references to those that were sent."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from del_audit.serving.conversations import Conversations, Kept, text_sha256
from del_audit.serving.openai_requests import Asked, Turn
from del_audit.serving.protocol import ID_BYTES, Role, Segment
from del_audit.serving.refusal import RefusalError
from mechanisms.client import Client
from mechanisms.errors import UserError
from mechanisms.ledger import AllowanceError
from mechanisms.ledger_file import LedgerError


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is sent. name: of the exchange. after: what it follows.

    released: tokens that were charged for it, 0 for bits that were sent before. earlier: the turns that it follows, for
    a server that has forgotten them; None where they cannot be told, since not all that it wrote was shown.
    """

    name: bytes
    after: tuple[bytes, int] | None
    segments: tuple[Segment, ...]
    released: int
    earlier: tuple[Segment, ...] | None


@dataclass(frozen=True, slots=True)
class Releasing:
    """public: sha256 of the texts that the operator's bundle lists as public: they are sent as they are."""

    conversations: Conversations
    public: Collection[str]

    def outgoing(self, user: str, client: Client, asked: Asked, key: str | None) -> Outgoing:
        """Returns what is sent for a request, remembered before anything is sent; key: an idempotency key.

        Turns in front of an answer that was returned to this user for their very release are named, not sent again.
        All others are released afresh, and charged. Raises RefusalError where nothing may be sent.
        """
        said = [[turn.role, turn.text] for turn in asked.turns]
        how = asked.how
        request = self.conversations.request_hmac(
            user, [said, how.max_tokens, how.temperature, how.top_p, how.seed, how.choices]
        )
        if key is not None and (kept := self.conversations.repeated(user, key)) is not None:
            if kept.request != request:
                raise RefusalError(409, "idempotency_key_reused", "This idempotency key was used for another request.")
            return Outgoing(kept.name, kept.after, kept.segments, 0, self._earlier(kept.after, asked.turns))
        after, first, whole = self._followed(user, asked.turns)
        new = asked.turns[first:]
        if not new:
            raise RefusalError(400, "nothing_new", "Expected a turn after the last answer.", "messages")
        segments, released = self._released(client, new)
        name = secrets.token_bytes(ID_BYTES)
        self.conversations.keep(user, name, after, new, segments, request, key)
        return Outgoing(name, after, segments, released, self._earlier(after, asked.turns) if whole else None)

    def _followed(self, user: str, turns: Sequence[Turn]) -> tuple[tuple[bytes, int] | None, int, bool]:
        """Returns the exchange that the turns follow, the place of the first new turn, and whether all was shown."""
        after: tuple[bytes, int] | None = None
        first, whole = 0, True
        for place, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            found = self.conversations.answered(user, after, turns[first:place], turn.text)
            if found is None:
                break
            after, first, whole = (found.exchange, found.choice), place + 1, whole and found.whole
        return after, first, whole

    def _released(self, client: Client, turns: Sequence[Turn]) -> tuple[tuple[Segment, ...], int]:
        private = [turn.text for turn in turns if not self._is_public(turn.text)]
        try:
            released, tokens = client.release_all(private) if private else ([], 0)
        except AllowanceError as error:
            raise RefusalError(429, "insufficient_quota", str(error)) from None
        except LedgerError:
            raise  # it is not about this request
        except UserError as error:
            raise RefusalError(400, "not_released", str(error), "messages") from None
        messages = iter(released)
        contents = [turn.text if self._is_public(turn.text) else next(messages) for turn in turns]
        return tuple(Segment(turn.role, said) for turn, said in zip(turns, contents, strict=True)), tokens

    def _is_public(self, text: str) -> bool:
        """Returns whether a text may be sent as it is: it says nothing, or the operator's bundle lists it."""
        return not text or text_sha256(text) in self.public

    def _earlier(self, after: tuple[bytes, int] | None, turns: Sequence[Turn]) -> tuple[Segment, ...] | None:
        """Returns the segments of all earlier exchanges with their answers; None where one is not remembered."""
        chain: list[Kept] = []
        while after is not None:
            kept = self.conversations.of(after[0])
            if kept is None:
                return None
            chain.append(kept)
            after = kept.after
        answers = [turn.text for turn in turns if turn.role == "assistant"][: len(chain)]
        role: Role = "assistant"
        found: list[Segment] = []
        for kept, answer in zip(reversed(chain), answers, strict=False):
            found += [*kept.segments, Segment(role, answer)]
        return tuple(found)
