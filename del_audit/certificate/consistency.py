"""Whether the parts of a certificate agree with each other: its checks follow from its figures, its hashes from it."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from del_audit.certificate.checks import checks_of, strongest
from del_audit.certificate.verdict import verdict_of
from mechanisms.canonical_json import sha256_of
from mechanisms.client_certificate import date
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


def require_consistent(body: Mapping[str, Any]) -> None:
    """Raises UserError, which names the part, where parts of a certificate disagree.

    body: of a certificate that keeps to the schema.
    """
    configuration, spec = body["configuration"], QuantizerSpec(**body["spec"])
    _require("hashes.configuration", body["hashes"]["configuration"], sha256_of(configuration))
    _require("hashes.spec", body["hashes"]["spec"], spec.fingerprint.hex())
    _require_spec(spec, configuration["mechanism"])
    _require("name", body["name"], configuration["name"])
    seed = configuration["evaluation"]["seed"]
    _require("seed", (body["seed"], body["reproduce"]["seed"]), (seed, seed))
    _require("reproduce.commit", body["reproduce"]["commit"], body["commit"])
    lasts = date(body["expires"], "expires") - date(body["made"], "made")
    _require("expires - made", lasts, timedelta(days=configuration["valid_days"]))
    attacks = body["inversion"]["attacks"]
    keys = [attack["key"] for attack in attacks]
    asked, unusable = configuration["evaluation"]["attacks"], body["inversion"]["unusable"]
    _require("attacks, each once", len(set(keys)), len(keys))
    _require("attacks that were asked for", set(keys) - set(asked), set())
    _require("attacks run or unusable", len(attacks) + len(unusable), len(asked))
    _require("inversion.strongest", body["inversion"]["strongest"], strongest(attacks)["name"])
    _require_checks(body)


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
    _require(
        "reasons", body["reasons"], [f"{c['limit']}: {c['reason']}" for c in body["checks"] if c["status"] != "passed"]
    )


def _require(where: str, stored: Any, follows: Any) -> None:
    if stored != follows:
        raise UserError(
            f"Expected {where} to be {str(follows)[:300]}, which follows from the rest, got {str(stored)[:300]}."
        )
