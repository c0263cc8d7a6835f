"""The epsilon of one token of a mechanism without a proved guarantee: claimed by its author, or computed of a rival."""

import math

from del_audit.accounting.any_mechanism import has_proof
from del_audit.accounting.registry import ACCOUNTANTS
from del_audit.accounting.rivals import rival_guarantee
from del_audit.certificate.claimed_text import AUTHOR, CLAIMED_EPSILON, COMPUTED
from del_audit.certificate.model import Section
from del_audit.service.pipelines import AnyPipeline
from mechanisms.own_mechanisms import ClaimsEpsilon
from mechanisms.rival_pipeline import RivalPipeline
from mechanisms.rivals._description import RivalSpec


def claimed_sections(pipeline: AnyPipeline, delta: float) -> dict[str, Section]:
    """Returns the section of what is claimed of one token, in nats at delta; none where nothing is.

    Of a rival that a configuration names it is what del_audit.accounting.rivals computes over the public vocabulary:
    one pass over all pairs of words for those that release words. Raises UserError as rival_guarantee does.
    """
    if not isinstance(pipeline, RivalPipeline) or has_proof(pipeline.spec):
        return {}
    mechanism: object = pipeline.mechanism
    if isinstance(pipeline.spec, RivalSpec) and pipeline.spec.kind in ACCOUNTANTS:
        return {CLAIMED_EPSILON: _computed(mechanism, delta)}
    if isinstance(mechanism, ClaimsEpsilon) and not math.isinf(epsilon := mechanism.token_epsilon(delta)):
        kind = "claimed by its author, not proved"
        return {CLAIMED_EPSILON: _section(AUTHOR, delta, {"epsilon": epsilon, "kind": kind})}
    return {}


def _computed(mechanism: object, delta: float) -> Section:
    """Returns what is computed of a rival; an epsilon that does not exist is null."""
    found = rival_guarantee(mechanism, delta)
    epsilon, within = found.epsilon, found.within
    return _section(
        COMPUTED,
        delta,
        {
            "epsilon": _finite(epsilon.upper),
            "at_least": _finite(epsilon.lower),
            "kind": f"{found.kind}, not proved",
            "reason": found.reason,
            "within": None if within is None else _finite(within.upper),
            "within_adjacency": found.within_adjacency,
        },
    )


def _section(version: int, delta: float, found: dict[str, float | str | None]) -> Section:
    return Section.model_validate({"version": version, "unit": "nats, one token", "delta": delta, **found})


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else float(value)
