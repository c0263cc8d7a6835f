"""Whether the parts of a certificate agree with each other: its checks follow from its figures, its hashes from it."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from del_audit.certificate.checks import checks_of, strongest
from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.schema import FORMAT_2
from del_audit.configuration.asked import CLEAN_BYTES, largest_epsilon
from del_audit.configuration.verdict import Check, verdict_of
from del_audit.service.seed import seed_of
from mechanisms.canonical_json import canonical_sha256
from mechanisms.client_certificate import date
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

LEAST = {"full": ("baseline", "cosine", "code", "likelihood", "map", "beam"), "quick": ("baseline", "map")}
"""Attacks that each level required when format 3 was made; a certificate may state more, and never fewer."""


def require_consistent(body: Mapping[str, Any]) -> None:
    """Raises UserError, which names the part, where parts of a certificate disagree.

    body: of a certificate that keeps to the schema of its format. The checks of format 2 followed older rules: there it
    is asked that the verdict follows from the checks, and today's rules are reported apart (verify).
    """
    configuration, spec = body["configuration"], QuantizerSpec(**body["spec"])
    _require("hashes.configuration", body["hashes"]["configuration"], canonical_sha256(configuration))
    _require("hashes.spec", body["hashes"]["spec"], spec.fingerprint.hex())
    _require_spec(spec, configuration["mechanism"])
    _require("name", body["name"], configuration["name"])
    _require("reproduce.commit", body["reproduce"]["commit"], body["commit"])
    lasts = date(body["expires"], "expires") - date(body["made"], "made")
    _require("expires - made", lasts, timedelta(days=configuration["valid_days"]))
    inversion = body["inversion"]
    keys = [attack["key"] for attack in inversion["attacks"]]
    _require("attacks, each once", len(set(keys)), len(keys))
    _require("inversion.strongest", inversion["strongest"], strongest(inversion["attacks"])["name"])
    if body["format"] == FORMAT_2:
        _require_format_2(body, keys)
    else:
        _require_format_3(body, keys)
    _require(
        "reasons", body["reasons"], [f"{c['limit']}: {c['reason']}" for c in body["checks"] if c["status"] != "passed"]
    )


def _require_format_2(body: Mapping[str, Any], keys: list[str]) -> None:
    asked, unusable = body["configuration"]["evaluation"]["attacks"], body["inversion"]["unusable"]
    seed = body["configuration"]["evaluation"]["seed"]
    _require("seed", (body["seed"], body["reproduce"]["seed"]), (seed, seed))
    _require("attacks that were asked for", set(keys) - set(asked), set())
    _require("attacks run or unusable", len(keys) + len(unusable), len(asked))
    _require("verdict", body["verdict"], verdict_of([Check(**check) for check in body["checks"]]))


def _require_format_3(body: Mapping[str, Any], keys: list[str]) -> None:
    policy, hashes = body["configuration"]["policy"], body["hashes"]
    seed = seed_of(hashes["private_texts"], policy)
    _require("seed", (body["seed"], body["reproduce"]["seed"]), (seed, seed))
    asked, unusable = body["configuration"]["evaluation"]["attacks"], body["inversion"]["unusable"]
    _require("attacks run or unusable", sorted([*keys, *(test["key"] for test in unusable)]), sorted(asked))
    _require("attempts.private_texts", body["attempts"]["private_texts"], hashes["private_texts"])
    _require("error_rate", body["error_rate"], error_rate_of(body["attempts"]["count"]))
    _require("assurance", body["assurance"], policy["assurance"])
    _require("requires, without some", sorted(set(LEAST[policy["assurance"]]) - set(body["requires"])), [])
    _require_policy(policy, QuantizerSpec(**body["spec"]))
    _require_checks(body)


def _require_policy(policy: Mapping[str, Any], spec: QuantizerSpec) -> None:
    """Raises UserError for a policy that no configuration could have been loaded with; the schema has seen the rest."""
    for limit in policy["epsilon"]:
        unit, tokens, most = limit["unit"], limit["tokens"], limit["at_most"]
        _require("tokens of a prompt's epsilon", tokens, policy["prompt_tokens"] if unit == "prompt" else tokens)
        largest = largest_epsilon(unit, tokens, policy["sends"], spec.dim, spec.trials)
        if most >= largest:
            raise UserError(f"Expected a limit below {largest:.6g} nats for a {unit}, got {most:g}: nothing misses it.")
    limit = policy["bytes_per_token_at_most"]
    if limit is not None and limit > CLEAN_BYTES * spec.dim:
        most = CLEAN_BYTES * spec.dim
        raise UserError(f"Expected bytes_per_token_at_most <= {most}, got {limit:g}: nothing misses it.")


def _require_spec(spec: QuantizerSpec, mechanism: Mapping[str, Any]) -> None:
    """Raises UserError unless the spec is what the configuration's mechanism describes."""
    quantizer = {name: mechanism[name] for name in ("bits", "dim", "clip")}
    if (mechanism["scale"] is None) == (mechanism["mu"] is None):
        raise UserError("Expected exactly one of configuration.mechanism.scale and mu in the certificate.")
    if mechanism["mu"] is None:
        described = QuantizerSpec(**quantizer, scale=mechanism["scale"])
    else:
        described = QuantizerSpec.from_mu(**quantizer, mu=mechanism["mu"])
    same = all(getattr(spec, name) == getattr(described, name) for name in ("bits", "dim", "clip"))
    if not (same and math.isclose(spec.scale, described.scale, rel_tol=1e-12)):  # roots are rounded otherwise elsewhere
        raise UserError(f"Expected the spec of configuration.mechanism, {described}, got {spec}.")


def _require_checks(body: Mapping[str, Any]) -> None:
    try:
        checks = checks_of(body)
    except (KeyError, TypeError, ValueError, StopIteration, RuntimeError) as error:
        raise UserError(f"Expected a figure for each limit of the policy, got none for one: {error!r}.") from None
    told = ("limit", "asked", "found", "status")  # the reasons' words may change from version to version
    _require(
        "checks",
        [[c[name] for name in told] for c in body["checks"]],
        [[getattr(c, name) for name in told] for c in checks],
    )
    _require("verdict", body["verdict"], verdict_of(checks))


def _require(where: str, stored: Any, follows: Any) -> None:
    if stored != follows:
        raise UserError(
            f"Expected {where} to be {str(follows)[:300]}, which follows from the rest, got {str(stored)[:300]}."
        )
