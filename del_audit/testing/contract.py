"""What every mechanism must keep: its description, its randomness, what it refuses, and that it can be copied."""

import copy
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import numpy as np

from del_audit.testing.messages import check_user_error, close
from del_audit.testing.report import ContractError
from del_audit.testing.subject import Subject
from mechanisms.hashes import json_sha256

_RELEASES = 64


class NoWords:
    """A source that nothing may be drawn from."""

    def words(self, count: int) -> NoReturn:
        """Raises ContractError."""
        raise ContractError(f"{count} random words were drawn before the prompt was refused")


def description(subject: Subject) -> str:
    """The description can be written down, is frozen, and its fingerprint names it and no other."""
    spec = subject.mechanism.spec
    name: object = getattr(subject.mechanism, "name", None)
    if not isinstance(name, str) or not name:
        raise ContractError(f"name is {name!r}, expected text")
    fields = spec.to_dict()
    mark = spec.fingerprint
    if mark.hex() != json_sha256(fields):
        raise ContractError("fingerprint is not mechanisms.hashes.json_sha256 of to_dict(), as 32 bytes")
    if copy.deepcopy(spec).fingerprint != mark:
        raise ContractError("a copy of the description has another fingerprint")
    for field in fields:
        if hasattr(spec, field):
            _check_frozen(copy.deepcopy(spec), field)
    _check_sensitive(spec, mark)
    return f"{len(fields)} fields"


def _check_frozen(spec: object, field: str) -> None:
    try:
        setattr(spec, field, getattr(spec, field))
    except (AttributeError, TypeError, ValueError):
        return
    raise ContractError(f"the description is not frozen: {field} can be set")


def _check_sensitive(spec: object, mark: bytes) -> None:
    """Raises ContractError where a dataclass with another value in a field has the same fingerprint."""
    if not dataclasses.is_dataclass(spec) or isinstance(spec, type):
        return
    for field in dataclasses.fields(spec):
        for other in _others(getattr(spec, field.name)) if field.init else ():
            try:
                changed: object = dataclasses.replace(spec, **{field.name: other})
            except Exception:  # refused, in whatever way the description refuses
                continue
            if changed != spec and getattr(changed, "fingerprint", None) == mark:
                raise ContractError(f"the fingerprint does not depend on {field.name}")


def _others(value: object) -> tuple[object, ...]:
    """Returns values that a field of this one may also have."""
    if isinstance(value, str):
        return (f"{value}0", f"{'1' if value[:1] == '0' else '0'}{value[1:]}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value + 1, value - 1, value * 2 + 1, value * 0.75 - 1e-3)
    return ()


def source_only(subject: Subject) -> str:
    """A release is a function of its prompt and of the words that it drew."""
    prompt = subject.prompt(64, "source")
    first = subject.released(prompt, "source")
    subject.message(64, "in between")
    if subject.released(prompt, "source") != first:
        raise ContractError("the same prompt and the same random words gave two messages: randomness from elsewhere")
    return "64 tokens, released twice from one seed"


def fresh_noise(subject: Subject) -> str:
    """Each release, and each token of a release, has noise of its own.

    Noise that changes fewer than one token in 300 may count as none: of 4,096 tokens none need be changed then.
    """
    word = subject.prompt(1, "noise")[0]
    source = subject.source("noise")
    messages = [subject.mechanism.release([word] * 64, source) for _ in range(_RELEASES)]
    if len(set(messages)) == 1:
        raise ContractError(f"{_RELEASES} releases of one prompt of 64 tokens are all the same")
    rows = [subject.observed(message, 64) for message in messages]
    if all((found == found[:1]).all() for found in rows):
        raise ContractError("the 64 equal tokens of a prompt are all released alike: they share their noise")
    return f"{_RELEASES} releases of 64 equal tokens"


def bad_prompts(subject: Subject) -> str:
    """Prompts that cannot be released are refused before anything is drawn."""
    prompts: tuple[Sequence[float], ...] = ([], [subject.words], [0, subject.words], [-1], [0, -1], [0.5])
    for prompt in prompts:
        release = partial(subject.mechanism.release, prompt, NoWords())  # type: ignore[arg-type]  # what it must refuse
        check_user_error(release, f"release of {list(prompt)!r}")
    return f"{len(prompts)} prompts"


def copies(subject: Subject) -> str:
    """A deep copy releases and reads the same."""
    other = dataclasses.replace(subject, mechanism=copy.deepcopy(subject.mechanism))
    message = subject.message(8, "copies")
    if other.message(8, "copies") != message:
        raise ContractError("a deep copy releases another message from the same random words")
    if not np.array_equal(other.observed(message, 8), subject.observed(message, 8)):
        raise ContractError("a deep copy observes something else in the same message")
    if not close(other.embeddings(message, 8), subject.embeddings(message, 8)):
        raise ContractError("a deep copy reads other embeddings in the same message")
    return "8 tokens"
