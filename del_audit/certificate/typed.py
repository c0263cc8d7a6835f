"""A certificate's JSON values as the typed certificate: format 3 as it is, format 2 with what it does not say."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.model import Body, Record
from del_audit.certificate.schema import FORMAT_2
from del_audit.configuration.policy import WrittenEpsilon, WrittenPolicy
from del_audit.configuration.written import WrittenEvaluation
from mechanisms.errors import UserError

Model = TypeVar("Model", bound=Record)


def typed_body(body: Mapping[str, Any]) -> Body:
    """Returns the body of a certificate that keeps to the schema of its format.

    What format 2 does not say reads as what held of it: each text sent once, full assurance, an unknown number of
    attempts, no figure that is of format 3 alone. Raises UserError, which names the place, for any other body.
    """
    return _of_format_2(body) if body.get("format") == FORMAT_2 else typed(Body, body)


def typed(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Returns JSON values as a model of the certificate; raises UserError, which names the place, where they are not.

    They are read as JSON: in Python's own values a list is no tuple, and nothing is converted.
    """
    try:
        return model.model_validate_json(json.dumps(values, allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "certificate"
        raise UserError(f"Expected a certificate of its format, got at {where}: {first['msg'][:300]}.") from None


def _of_format_2(body: Mapping[str, Any]) -> Body:
    """Returns a body of format 2; its limits and sample sizes are read as its own schema allowed them."""
    configuration = body["configuration"]
    evaluation = {key: value for key, value in configuration["evaluation"].items() if key != "seed"}
    read = typed(Body, _as_format_3({**body, "configuration": {**configuration, "evaluation": {}, "policy": {}}}))
    limits = tuple(WrittenEpsilon.model_construct(**limit) for limit in configuration["policy"]["epsilon"])
    tuples = {name: tuple(evaluation[name]) for name in ("attacks", "other_bits")}
    policy = {**configuration["policy"], "epsilon": limits, "prompt_tokens": evaluation["prompt_tokens"]}
    older = {
        "policy": WrittenPolicy.model_construct(**policy),
        "evaluation": WrittenEvaluation.model_construct(**{**evaluation, **tuples}),
    }
    return read.model_copy(update={"configuration": read.configuration.model_copy(update=older)})


def _as_format_3(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a body of format 2 with the fields of format 3; the format's name stays, by which readers know it."""
    inversion, utility = body["inversion"], body["utility"]
    return {
        **body,
        "assurance": "full",
        "requires": [],
        "attempts": {"private_texts": body["hashes"]["private_texts"], "count": None, "previous": None},
        "error_rate": error_rate_of(None).model_dump(),
        "sections": {},
        "guarantees": [{**guarantee, "sends": 1} for guarantee in body["guarantees"]],
        "inversion": {
            **inversion,
            "sends": 1,
            "attacks": [
                {
                    **attack,
                    "above": None,
                    "worst_of_releases": None,
                    "slices": [{**part, "above": None} for part in attack["slices"]],
                }
                for attack in inversion["attacks"]
            ],
            "unusable": [{**test, "key": None} for test in inversion["unusable"]],
        },
        "attribute": _probe(body["attribute"]),
        "utility": {**utility, "gains_over": {}, "task": _probe(utility["task"])},
    }


def _probe(probe: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if probe is None else {**probe, "over_majority": None}
