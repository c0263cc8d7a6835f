"""Whether the parts of a certificate agree with each other: its checks follow from its figures, its hashes from it."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from del_audit.certificate.checks import checks_of, strongest
from del_audit.certificate.claim import claim_of
from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.model import Body
from del_audit.certificate.schema import FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5
from del_audit.configuration.mechanisms import (
    AnyMechanism,
    CoarseWordsMechanism,
    DelMechanism,
    OverWords,
    RivalMechanism,
)
from del_audit.configuration.verdict import verdict_of
from del_audit.service.seed import seed_of
from mechanisms.canonical_json import canonical_sha256
from mechanisms.client_certificate import date
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.registry import mechanism_of
from mechanisms.spec import QuantizerSpec

if TYPE_CHECKING:
    from mechanisms.rivals._supports import SupportSpec

LEAST = {"full": ("baseline", "cosine", "code", "likelihood", "map", "adapted-beam"), "quick": ("baseline", "map")}
"""Attacks that each level required when format 5 was made; a certificate may state more, and never fewer."""
BEFORE = {"adapted-beam": "beam"}
"""What formats 3 and 4 required in an attack's place."""


def require_consistent(body: Body, written: Mapping[str, Any]) -> None:
    """Raises UserError, which names the part, where parts of a certificate disagree.

    written: the same body as its file says, whose bytes are hashed. The checks of format 2 followed older rules: there
    it is asked that the verdict follows from the checks, and today's rules are reported apart (verify).
    """
    configuration, inversion = body.configuration, body.inversion
    _require("hashes.configuration", body.hashes.configuration, canonical_sha256(written["configuration"]))
    _require("hashes.spec", body.hashes.spec, body.spec.fingerprint.hex())
    _require_spec(body)
    _require("name", body.name, configuration.name)
    _require("reproduce.commit", body.reproduce.commit, body.commit)
    lasts = date(body.expires, "expires") - date(body.made, "made")
    _require("expires - made", lasts, timedelta(days=configuration.valid_days))
    keys = [attack.key for attack in inversion.attacks]
    _require("attacks, each once", len(set(keys)), len(keys))
    _require("inversion.strongest", inversion.strongest, strongest(inversion.attacks).name)
    if body.format == FORMAT_2:
        _require_format_2(body, keys, written["configuration"]["evaluation"]["seed"])
    else:
        _require_format_3(body, keys, written["configuration"]["policy"])
    _require("reasons", body.reasons, tuple(f"{c.limit}: {c.reason}" for c in body.checks if c.status != "passed"))


def _require_format_2(body: Body, keys: list[str], seed: int) -> None:
    asked = body.configuration.evaluation.attacks
    _require("seed", (body.seed, body.reproduce.seed), (seed, seed))
    _require("attacks that were asked for", set(keys) - set(asked), set())
    _require("attacks run or unusable", len(keys) + len(body.inversion.unusable), len(asked))
    _require("verdict", body.verdict, verdict_of(body.checks))


def _require_format_3(body: Body, keys: list[str], policy: Mapping[str, Any]) -> None:
    private = body.hashes.private_texts
    seed = seed_of(private, policy)
    _require("seed", (body.seed, body.reproduce.seed), (seed, seed))
    run = [*keys, *(str(test.key) for test in body.inversion.unusable)]
    _require("attacks run or unusable", sorted(run), sorted(body.configuration.evaluation.attacks))
    _require("attempts.private_texts", body.attempts.private_texts, private)
    _require("error_rate", body.error_rate, error_rate_of(body.attempts.count))
    level = body.configuration.policy.assurance
    _require("assurance", body.assurance, level)
    former = BEFORE if body.format in (FORMAT_3, FORMAT_4) else {}
    least = {former.get(key, key) for key in LEAST[level]}
    _require("requires, without some", sorted(least - set(body.requires)), [])
    _require_policy(body)
    _require_checks(body)
    if body.format != FORMAT_3:
        _require("claim", body.claim, claim_of(body, body.checks))
    if body.format not in (FORMAT_3, FORMAT_4):
        _require_meaning(body)
    if body.format in (FORMAT_3, FORMAT_4, FORMAT_5):
        _require("spec", isinstance(body.spec, QuantizerSpec), True)
    _require("units with a guarantee", bool(body.guarantees), _has_proof(body.spec))


def _require_meaning(body: Body) -> None:
    """Raises UserError unless each attack has a figure up to meaning, of its own tokens and at least its success.

    An attack on contexts that may have stopped early has none.
    """
    for attack in body.inversion.attacks:
        stopped = body.configuration.evaluation.stop_early and not attack.context_free
        meant = attack.meaning
        _require(f"a figure of {attack.key} up to meaning", meant is not None, not stopped)
        _require(f"a lower limit of {attack.key} up to meaning", attack.meaning_above is not None, not stopped)
        if meant is not None:
            _require(f"tokens of {attack.key} up to meaning", meant.sample, attack.success.sample)
            _require(f"{attack.key} up to meaning", meant.value, max(meant.value, attack.success.value))


def _require_policy(body: Body) -> None:
    """Raises UserError for a policy that no configuration could have been loaded with."""
    for limit in body.configuration.policy.epsilon:
        if limit.unit == "prompt":
            _require("tokens of a prompt's epsilon", limit.tokens, body.configuration.policy.prompt_tokens)
    try:
        for name, row in body.configuration.policy.asked().items():
            if row.require is not None:
                row.require(name, getattr(body.configuration.policy, name), body.configuration)
    except ValueError as error:
        raise UserError(f"In configuration.policy of the certificate: {error}.") from None


def _require_spec(body: Body) -> None:
    """Raises UserError unless the spec is what the configuration's mechanism describes."""
    spec, mechanism = body.spec, body.configuration.mechanism
    if not isinstance(mechanism, DelMechanism):
        _require_other_spec(spec, mechanism)
        return
    if (mechanism.scale is None) == (mechanism.mu is None):
        raise UserError("Expected exactly one of configuration.mechanism.scale and mu in the certificate.")
    described, same = mechanism.spec(), False
    if isinstance(spec, QuantizerSpec):  # roots are rounded otherwise elsewhere
        same = all(getattr(spec, name) == getattr(described, name) for name in ("bits", "dim", "clip"))
        same = same and math.isclose(spec.scale, described.scale, rel_tol=1e-12)
    if not same:
        raise UserError(f"Expected the spec of configuration.mechanism, {described}, got {spec}.")


def _require_other_spec(spec: Description, mechanism: AnyMechanism) -> None:
    """Raises UserError unless a spec is of the mechanism's kind and, where that has one, of its epsilon."""
    from mechanisms.rivals._supports import SupportSpec  # heavy, and DEL needs none of it
    from mechanisms.rivals.coarse_words import CoarseWordsSpec

    if isinstance(mechanism, CoarseWordsMechanism) and isinstance(spec, CoarseWordsSpec):
        if spec.inner.words > mechanism.symbols:
            raise UserError(f"Expected a spec of at most {mechanism.symbols} symbols, got {spec.inner.words}.")
        spec, mechanism = spec.inner, mechanism.inner
    if isinstance(mechanism, OverWords):
        if not isinstance(spec, SupportSpec) or not _alike(spec, mechanism.over(spec.words)):
            raise UserError(f"Expected the spec of configuration.mechanism, {mechanism}, got {spec}.")
    elif isinstance(mechanism, RivalMechanism):
        if not mechanism.describes(spec):
            raise UserError(f"Expected the spec of configuration.mechanism, {mechanism}, got {spec}.")
    elif isinstance(mechanism, CoarseWordsMechanism) or mechanism_of(spec) is not None:
        raise UserError(f"Expected a spec of the kind {mechanism.kind!r}, got {spec}.")


def _has_proof(spec: Description) -> bool:
    if isinstance(spec, QuantizerSpec):
        return True
    from del_audit.accounting.any_mechanism import has_proof  # heavy

    return has_proof(spec)


def _alike(spec: "SupportSpec", described: "SupportSpec") -> bool:
    """Returns whether two specs are of one kind, its sizes and its epsilon; roots are rounded otherwise elsewhere."""
    same = type(spec) is type(described) and (spec.share, spec.common) == (described.share, described.common)
    return same and math.isclose(spec.log_odds, described.log_odds, rel_tol=1e-9)


def _require_checks(body: Body) -> None:
    try:
        checks = checks_of(body)
    except (KeyError, ValueError) as error:
        raise UserError(f"Expected a figure for each limit of the policy, got none for one: {error!r}.") from None
    told = [(check.limit, check.asked, check.found, check.status) for check in body.checks]  # reasons may be reworded
    _require("checks", told, [(check.limit, check.asked, check.found, check.status) for check in checks])
    _require("verdict", body.verdict, verdict_of(checks))


def _require(where: str, stored: object, follows: object) -> None:
    if stored != follows:
        raise UserError(
            f"Expected {where} to be {str(follows)[:300]}, which follows from the rest, got {str(stored)[:300]}."
        )
