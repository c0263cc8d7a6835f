"""The policy that a configuration is held against: each limit once, in a range in which it can be missed and met."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from attacks.registry import Assurance
from del_audit.configuration.asked import CLEAN_BYTES, DELTA, largest_epsilon
from del_audit.configuration.limits import (
    Evidence,
    Limit,
    Measured,
    Unit,
    attribute,
    bytes_sent,
    gains,
    known_context,
    lists,
    meaning,
    require_missable_bytes,
    require_missable_epsilon,
    require_releases,
    share_of_gain,
    slices,
    strongest_attack,
    task,
    worst_prompt,
)
from del_audit.configuration.slice_names import SLICE_NAMES, is_slice_name
from del_audit.configuration.verdict import Check, check_bound, unmeasured
from del_audit.configuration.yaml_file import Strict, not_null
from mechanisms.spec import MAX_BITS

Share = Annotated[float, Field(gt=0, lt=1)]

LARGEST_DELTA = 0.01
"""At a larger delta, more than one user in a hundred may be exposed outright whatever epsilon says."""
LARGEST_DIM = 1 << 14
"""Coordinates per token of the widest embedding that is sent anywhere."""


class WrittenEpsilon(Strict):
    """The guarantee asked for: epsilon (nats) at delta, for a unit of that many tokens.

    A session counts every token that is sent, one that is sent again each time; the other units are sent `policy.sends`
    times.
    """

    unit: Unit = "token"
    """Unit."""
    tokens: int | None = Field(default=None, ge=1, json_schema_extra=not_null)
    """Tokens in the unit: 1 for a token; a phrase and a session need it; a prompt takes policy.prompt_tokens."""
    delta: float = Field(default=1e-5, gt=0, le=LARGEST_DELTA)
    """A probability."""
    at_most: float = Field(ge=0)
    """Epsilon, nats."""

    def sent(self, sends: int) -> int:
        """Returns how often each of its tokens is sent where a text is sent so often: a session counts each sending."""
        return 1 if self.unit == "session" else sends


class EpsilonLimit(WrittenEpsilon):
    """A limit of epsilon as a configuration may give it: the tokens of its unit fit."""

    @model_validator(mode="before")
    @classmethod
    def _a_token_is_one(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("unit", "token") == "token":
            return {"tokens": 1, **given}
        return given

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        if self.unit == "token" and self.tokens != 1:
            raise ValueError(f"expected tokens: 1 for unit: token, got tokens={self.tokens}: use unit: phrase")
        if self.unit in ("phrase", "session") and self.tokens is None:
            raise ValueError(f"expected tokens beside unit: {self.unit}, got none: add tokens: N, how many it has")
        return self


def _epsilons(limits: tuple[WrittenEpsilon, ...], measured: Measured, sends: int) -> Iterator[Check]:
    """Yields the check of each proved epsilon."""
    for each in limits:
        tokens, often = each.tokens or 1, each.sent(sends)
        count = f"{tokens} token{'s' if tokens > 1 else ''}" + (f", sent {often} times" if often > 1 else "")
        limit = f"epsilon of a {each.unit} ({count}) at delta {each.delta:g}"
        if bound := measured.epsilon(each.unit, tokens, often, each.delta):
            yield check_bound(limit, bound, each.at_most, "nats")
        else:
            yield unmeasured(limit, f"at most {each.at_most:g} nats", "it was not proved")


EPSILON = Limit("privacy", _epsilons, None, require_missable_epsilon)


class WrittenPolicy(Strict):
    """Limits; each one that is given is a check. An upper limit is held against the interval's upper end, and so on."""

    assurance: Assurance = "full"
    """full: every attack of the default ladder is required. quick: a stated shorter list (attacks.registry)."""
    sends: int = Field(default=1, ge=1, le=1_000)
    """How often the same text may be sent; guarantees and attacks are taken at it."""
    prompt_tokens: int = Field(default=48, ge=2, le=1 << 20)
    """Tokens of the longest prompt; the evaluation and the prompt's epsilon take theirs from here."""
    session_days: int = Field(default=30, ge=1, le=3_650)
    """Days within which the tokens that are sent make one session."""
    epsilon: Annotated[tuple[WrittenEpsilon, ...], Field(strict=False), EPSILON] = ()
    """Limits of epsilon: at most one for each unit, tokens and delta."""
    attack_success_at_most: Annotated[Share | None, Limit("privacy", strongest_attack)] = None
    """Share of tokens that the strongest attack recovers."""
    meaning_success_at_most: Annotated[Share | None, Limit("privacy", meaning)] = None
    """Share of tokens that any attack recovers up to meaning (del_audit.evidence.inversion.meaning)."""
    slice_success_at_most: Annotated[dict[str, Share], Limit("privacy", slices)] = Field(default_factory=dict)
    """Share of each named slice's tokens that any attack recovers (del_audit.evidence.inversion.slices)."""
    worst_prompt_success_at_most: Annotated[
        Share | None, Limit("privacy", worst_prompt, "releases", require_releases)
    ] = None
    """Share of tokens that any attack recovers of the prompt that it recovers best."""
    context_success_at_most: Annotated[Share | None, Limit("privacy", known_context, "context")] = None
    """Share of tokens that an attacker recovers who knows the words before each token, or every other word."""
    list_success_at_most: Annotated[Share | None, Limit("privacy", lists, "lists")] = None
    """Share of texts that an attacker picks out of a list of candidates, whatever its size and the prompt's length."""
    attribute_advantage_at_most: Annotated[
        float | None, Field(ge=0, lt=1), Limit("privacy", attribute, "attribute")
    ] = None
    """Share of the way from chance to certainty."""
    paired_gain_at_least: Annotated[float | None, Field(ge=0, le=20), Limit("utility", gains, "gains")] = None
    """Nats per token that the release must save, over another user's prompt, no prompt and the soft prompt alone; the
    interval must be above it."""
    share_of_clean_gain_at_least: Annotated[
        float | None, Field(ge=0, lt=1), Limit("utility", share_of_gain, "gains")
    ] = None
    """The gain as a share of what the clean prompt gives; the interval must be above it."""
    task_accuracy_at_least: Annotated[Share | None, Limit("utility", task, "task")] = None
    """Share of documents."""
    bytes_per_token_at_most: Annotated[
        float | None,
        Field(gt=0, le=CLEAN_BYTES * LARGEST_DIM),
        Limit("utility", bytes_sent, None, require_missable_bytes),
    ] = None
    """Bytes per token, without the message's header."""

    @classmethod
    def limits(cls) -> dict[str, Limit]:
        """Returns each limit that there is, by its field's name, in the order of their checks."""
        return {
            name: row for name, field in cls.model_fields.items() for row in field.metadata if isinstance(row, Limit)
        }

    def asked(self) -> dict[str, Limit]:
        """Returns the limits that the policy has."""
        return {name: row for name, row in self.limits().items() if getattr(self, name) not in (None, (), {})}

    def needs(self, *evidence: Evidence) -> bool:
        """Returns whether one of its limits needs any of that evidence."""
        return any(row.needs in evidence for row in self.asked().values())

    def checks(self, measured: Measured) -> Iterator[Check]:
        """Yields the checks of every limit that the policy has."""
        for name, row in self.asked().items():
            yield from row.checks(getattr(self, name), measured, self.sends)

    def require_missable(self, dim: int, trials: int) -> None:
        """Raises ValueError for an epsilon that no quantizer of so many coordinates and trials per token can miss."""
        for limit in self.epsilon:
            most = largest_epsilon(limit.unit, int(limit.tokens or 1), self.sends, dim, trials)
            if limit.at_most >= most:
                raise ValueError(
                    f"expected epsilon.at_most < {most:.6g} nats for unit: {limit.unit} of {limit.tokens} tokens, got "
                    f"{limit.at_most:g}: no release of {dim} coordinates and {trials} trials each can miss it"
                )

    @property
    def quoted_delta(self) -> float:
        """The delta that a certificate's own epsilons are quoted at: that of the first limit."""
        return self.epsilon[0].delta if self.epsilon else DELTA


class Policy(WrittenPolicy):
    """The policy as a configuration may give it: each limit once, and none that nothing can miss."""

    epsilon: Annotated[tuple[EpsilonLimit, ...], Field(strict=False), EPSILON] = ()

    @field_validator("epsilon", mode="before")
    @classmethod
    def _one_limit_or_several(cls, given: Any) -> Any:
        return () if given is None else given if isinstance(given, list | tuple) else (given,)

    @field_validator("slice_success_at_most")
    @classmethod
    def _slices_are_known(cls, limits: dict[str, float]) -> dict[str, float]:
        for name in limits:
            if not is_slice_name(name):
                raise ValueError(f"expected {SLICE_NAMES}, got {name!r}")
        return limits

    @model_validator(mode="after")
    def _prompts_have_one_length(self) -> Self:
        limits = tuple(self._of_prompt_length(limit) for limit in self.epsilon)
        asked = [(limit.unit, limit.tokens, limit.delta) for limit in limits]
        if twice := [each for each in asked if asked.count(each) > 1]:
            raise ValueError(f"expected each unit, tokens and delta once, got {twice[0]} twice")
        object.__setattr__(self, "epsilon", limits)  # the model is frozen for everybody else
        return self

    def _of_prompt_length(self, limit: EpsilonLimit) -> EpsilonLimit:
        if limit.unit != "prompt":
            return limit
        stated = "prompt_tokens" in self.model_fields_set
        if limit.tokens is None and not stated:
            raise ValueError(
                "expected policy.prompt_tokens beside epsilon of unit: prompt, got none: add prompt_tokens: N, "
                "the length of the longest prompt that clients send"
            )
        if limit.tokens not in (None, self.prompt_tokens):
            raise ValueError(
                f"expected epsilon of a prompt at policy.prompt_tokens={self.prompt_tokens} tokens, got "
                f"tokens={limit.tokens}: set prompt_tokens: {limit.tokens}, or leave tokens out"
            )
        return limit.model_copy(update={"tokens": self.prompt_tokens})

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.asked():
            raise ValueError(
                "expected at least one limit, got none: it would certify anything. Limits are "
                f"{', '.join(self.limits())}"
            )
        return self

    @model_validator(mode="after")
    def _epsilon_can_be_missed(self) -> Self:
        self.require_missable(LARGEST_DIM, (1 << MAX_BITS) - 1)
        return self
