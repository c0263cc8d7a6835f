"""What `del-audit account --session` reads and prints: a YAML file of parts and other mechanisms, and its guarantee."""

import json
import math
import textwrap
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from del_audit.accounting.other_mechanisms import DpSgd, Gaussian, Guaranteed, Mechanism
from del_audit.accounting.session import Part, Session
from del_audit.configuration.yaml_file import Strict, load_yaml
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


class PartEntry(Strict):
    """A quantizer and what goes through it: tokens, or the lengths of prompts, each sent `sends` times."""

    bits: int
    dim: int
    clip: float
    scale: float | None = None
    mu: float | None = None
    tokens: int | None = None
    prompts: list[int] | None = None
    sends: int = 1

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("scale", "mu"), ("tokens", "prompts")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"expected exactly one of {one} and {other}")
        if self.prompts is not None and not (self.prompts and min(self.prompts) >= 1):
            raise ValueError(f"expected prompts of at least one token each, got prompts={self.prompts}")
        return self

    def part(self) -> Part:
        """Returns the part; raises UserError for values out of range."""
        tokens = self.tokens or sum(self.prompts or ())
        if self.mu is not None:
            return Part(QuantizerSpec.from_mu(self.bits, self.dim, self.clip, self.mu), tokens, self.sends)
        return Part(QuantizerSpec(self.bits, self.dim, self.clip, self.scale or 0.0), tokens, self.sends)


class GaussianEntry(Strict):
    """See other_mechanisms.Gaussian."""

    noise_multiplier: float
    releases: int = 1


class DpSgdEntry(Strict):
    """See other_mechanisms.DpSgd."""

    noise_multiplier: float
    sample_rate: float
    steps: int


class GuaranteedEntry(Strict):
    """See other_mechanisms.Guaranteed."""

    epsilon: float
    delta: float = 0.0
    times: int = 1


class OtherEntry(Strict):
    """One mechanism under its name."""

    gaussian: GaussianEntry | None = None
    dp_sgd: DpSgdEntry | None = None
    guaranteed: GuaranteedEntry | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("expected exactly one of gaussian, dp_sgd and guaranteed")
        return self

    def mechanism(self) -> Mechanism:
        """Returns the mechanism; raises UserError for values out of range."""
        if self.gaussian is not None:
            return Gaussian(**self.gaussian.model_dump())
        if self.dp_sgd is not None:
            return DpSgd(**self.dp_sgd.model_dump())
        assert self.guaranteed is not None
        return Guaranteed(**self.guaranteed.model_dump())


class SessionFile(Strict):
    """The whole file."""

    parts: list[PartEntry]
    others: tuple[OtherEntry, ...] = Field(default=(), strict=False)


def load_session(path: Path) -> tuple[Session, SessionFile]:
    """Returns the session in a YAML file, and the file's entries; raises UserError as load_yaml does."""
    entries = load_yaml(path, SessionFile, "session")
    try:
        parts = [entry.part() for entry in entries.parts]
        return Session(tuple(parts), tuple(entry.mechanism() for entry in entries.others)), entries
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def account_session(path: Path, delta: float, as_json: bool) -> int:
    """Prints the guarantee of the session in a file, as text or JSON, and returns exit code 0."""
    session, entries = load_session(path)
    if as_json:
        print(json.dumps(describe(session, entries, delta), indent=2, allow_nan=False))
    else:
        print(render(session, entries, delta))
    return 0


def describe(session: Session, entries: SessionFile, delta: float) -> dict[str, Json]:
    """Returns the contract of `del-audit account --session FILE --json`, keys in its order."""
    epsilon = session.epsilon(delta)
    pure = session.pure_epsilon
    return {
        "unit": "session",
        "parts": [
            {
                "spec": part.spec.to_dict(),
                "tokens": part.tokens,
                "prompts": entry.prompts,
                "sends": part.sends,
                "trials": part.trials,
            }
            for part, entry in zip(session.parts, entries.parts, strict=True)
        ],
        "others": [entry.model_dump(exclude_none=True) for entry in entries.others],
        "tokens": session.tokens,
        "trials": session.trials,
        "adjacency": session.adjacency,
        "delta": delta,
        "kind": epsilon.kind,
        "exact": session.exact,
        "epsilon": epsilon.to_dict(),
        "total_variation": session.total_variation.to_dict(),
        "pure_epsilon": pure.to_dict() if math.isfinite(pure.upper) else None,
    }


def render(session: Session, entries: SessionFile, delta: float) -> str:
    """Returns the same as lines of text for a terminal, each figure by its upper end."""
    lines = []
    for number, (part, entry) in enumerate(zip(session.parts, entries.parts, strict=True), 1):
        spec = " ".join(f"{name}={value!r}" for name, value in part.spec.to_dict().items())
        prompts = "" if entry.prompts is None else f" in {len(entry.prompts)} prompts"
        times = "once" if part.sends == 1 else f"{part.sends} times"
        lines.append(f"Part {number}     {spec}")
        lines.append(f"           {part.tokens:,} tokens{prompts}, sent {times}, {part.trials:,} trials")
    for number, other in enumerate(entries.others, 1):
        ((name, values),) = other.model_dump(exclude_none=True).items()
        lines.append(f"Other {number}    {name} " + " ".join(f"{key}={value!r}" for key, value in values.items()))
    epsilon, pure = session.epsilon(delta), session.pure_epsilon.upper
    what = "exact closed form" if session.exact else f"upper bound; not below {epsilon.lower!r}"
    return "\n".join(
        [
            *lines,
            f"Unit       session, {session.tokens:,} tokens with resent ones, {session.trials:,} trials",
            textwrap.fill(f"Between    {session.adjacency}", 100, subsequent_indent=" " * 11),
            f"Epsilon    <= {epsilon.upper!r} nats at delta={delta!r} ({what})",
            f"Total variation <= {session.total_variation.upper!r}",
            f"Pure epsilon    {f'<= {pure!r} nats' if math.isfinite(pure) else 'none'}",
            f"Kind       {epsilon.kind}",
        ]
    )
