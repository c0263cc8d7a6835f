"""Every figure of a certificate that needs no measurement, computed again and held against what is written."""

import math
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from pydantic import BaseModel

from del_audit.accounting.any_mechanism import guess_bound, has_proof
from del_audit.certificate.checks import checks_of
from del_audit.certificate.model import Body, Enclosure
from del_audit.certificate.proved import allowed_of, bytes_of, curve_of, epsilon_of, guarantees_of
from del_audit.certificate.schema import FORMAT_2
from del_audit.configuration.verdict import verdict_of
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError
from mechanisms.rivals.message_sizes import described_sizes
from mechanisms.spec import QuantizerSpec

TOLERANCE = 1e-6
"""How far two computations of the same figure may be apart, relative to it: other libraries round otherwise."""


def recomputed(body: Body) -> Body:
    """Returns the body with every figure that needs no measurement computed from its spec, configuration and kappa.

    Raises UserError for a spec out of range.
    """
    spec, policy, inversion = body.spec, body.configuration.policy, body.inversion
    guarantees = guarantees_of(spec, policy)
    if body.format == FORMAT_2:  # every figure was of one send, and it had words of its own for whom
        pairs = zip(guarantees, body.guarantees, strict=False)
        guarantees = tuple(computed.model_copy(update={"adjacency": own.adjacency}) for computed, own in pairs)
    width = body.bytes.a_prompt_of_clean_float32 // (4 * policy.prompt_tokens)  # the model's, which is not here
    sizes = described_sizes(spec)
    others = tuple(
        other.model_copy(update={"epsilon": epsilon_of(other.spec, other.delta, policy.sends)})
        for other in body.utility.other_bits
        if isinstance(other.spec, QuantizerSpec)
    )
    allowed = allowed_of(spec, inversion.kappa, policy.sends)
    knowing = body.knowing
    for name, context in knowing.contexts.items() if knowing else ():
        if knowing and context.centre and has_proof(spec):  # theorem 23 at what was measured
            most = guess_bound(spec, context.centre.upper, policy.sends).upper
            knowing = knowing.model_copy(update={name: context.model_copy(update={"allowed": most})})
    return body.model_copy(
        update={
            "guarantees": guarantees,
            "curve": curve_of(spec, policy.sends),
            "inversion": inversion.model_copy(update={"allowed": allowed}),
            "knowing": knowing,
            "utility": body.utility.model_copy(update={"other_bits": others}),
            "bytes": bytes_of(sizes, policy.prompt_tokens, width) if sizes else body.bytes,
        }
    )


def require_recomputed(body: Body) -> int:
    """Returns how many figures agree with those computed again.

    Raises UserError, which names the place, for a figure that differs by more than TOLERANCE, for two enclosures of the
    same figure that have no number in common, and where the computed figures lead to another verdict.
    """
    again = recomputed(body)
    if differs := next(differences(_proved(body), _proved(again)), None):
        raise UserError(f"Expected the figures that this installation computes, got {differs}.")
    if body.format != FORMAT_2 and (verdict := verdict_of(checks_of(again))) != body.verdict:
        raise UserError(f"Expected the verdict {verdict}, which the computed figures lead to, got {body.verdict}.")
    return sum(1 for _ in _numbers(_proved(again)))


def _proved(body: Body) -> dict[str, object]:
    """Returns the parts that are computed, under the names that errors give them."""
    return {
        "guarantees": body.guarantees,
        "curve": body.curve,
        "inversion.allowed": body.inversion.allowed,
        **{
            f"knowing.{name}.allowed": context.allowed
            for name, context in (body.knowing.contexts.items() if body.knowing else ())
        },
        **{f"utility.other_bits.{i}.epsilon": other.epsilon for i, other in enumerate(body.utility.other_bits)},
        "bytes": body.bytes,
    }


def differences(stored: object, computed: object, where: str = "") -> Iterator[str]:
    """Yields each place where two parts of a certificate differ, with what stands there and what was computed."""
    kinds = (Enclosure, Bound)
    if isinstance(computed, kinds) and isinstance(stored, kinds) and not _overlap(stored, computed):
        yield f"{where}: {_ends(stored)}, computed {_ends(computed)}, which has no number in common"
        return
    ours, theirs = _children(computed), _children(stored)
    if ours is None or theirs is None:
        if not _same(stored, computed):
            yield f"{where}: {stored!r}, computed {computed!r}"
    elif isinstance(computed, tuple) and len(ours) != len(theirs):
        yield f"{where}: {len(theirs)} values, computed {len(ours)}"
    else:
        for name, child in ours.items():
            yield from differences(theirs[name], child, f"{where}.{name}" if where else name)


def _children(part: object) -> Mapping[str, object] | None:
    """Returns a part's own parts by their names; None for a single value."""
    if isinstance(part, Mapping):
        return part
    if isinstance(part, tuple):
        return {str(index): child for index, child in enumerate(part)}
    if isinstance(part, BaseModel):
        return {name: getattr(part, name) for name in type(part).model_fields}
    names = getattr(part, "__dataclass_fields__", None)
    return None if names is None else {name: getattr(part, name) for name in names}


def _same(stored: object, computed: object) -> bool:
    if _is_number(stored) and _is_number(computed):
        return math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(stored) is type(computed) and stored == computed


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _overlap(stored: Enclosure | Bound, computed: Enclosure | Bound) -> bool:
    return (
        stored.lower <= stored.estimate <= stored.upper
        and stored.lower <= computed.upper
        and computed.lower <= stored.upper
    )


def _ends(bound: Enclosure | Bound) -> str:
    return f"[{bound.lower!r}, {bound.upper!r}]"


def _numbers(part: object) -> Iterator[object]:
    children = _children(part)
    if children is None:
        if _is_number(part):
            yield part
        return
    for child in children.values():
        yield from _numbers(child)
