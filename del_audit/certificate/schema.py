"""The published JSON schema of certificates (JSON Schema draft 2020-12), and a certificate held against it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from mechanisms.errors import UserError

SCHEMA_FILE = "certificate-2.schema.json"


def schema() -> dict[str, Any]:
    """Returns the schema of this version's certificates."""
    text = (files("del_audit.certificate") / "schema" / SCHEMA_FILE).read_text(encoding="utf8")
    found: dict[str, Any] = json.loads(text)
    return found


def require_schema(document: Mapping[str, Any]) -> None:
    """Raises UserError, which names the place, unless a certificate with its signature is as the schema says."""
    error = next(iter(_checker().iter_errors(dict(document))), None)
    if error is not None:
        where = ".".join(map(str, error.instance_path)) or "certificate"
        raise UserError(f"Expected a certificate as in {SCHEMA_FILE}, got at {where}: {error.message[:300]}.")


@lru_cache(maxsize=1)
def _checker() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema())
