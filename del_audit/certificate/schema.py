"""The published JSON schema of certificates (JSON Schema draft 2020-12), and a certificate held against it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import jsonschema_rs

from mechanisms.errors import UserError

FORMAT_2: Final = "del-audit certificate 2"
FORMAT_3: Final = "del-audit certificate 3"
FORMAT_4: Final = "del-audit certificate 4"
FORMAT_5: Final = "del-audit certificate 5"
FORMAT_6: Final = "del-audit certificate 6"
FORMATS = (FORMAT_2, FORMAT_3, FORMAT_4, FORMAT_5, FORMAT_6)
SCHEMA_FILES = {form: f"certificate-{form[-1]}.schema.json" for form in FORMATS}


def schema(form: str = FORMAT_6) -> dict[str, Any]:
    """Returns the schema of a format's certificates."""
    text = (files("del_audit.certificate") / "schema" / SCHEMA_FILES[form]).read_text(encoding="utf8")
    found: dict[str, Any] = json.loads(text)
    return found


def require_schema(document: Mapping[str, Any]) -> None:
    """Raises UserError, which names the place, unless a certificate with its signature is as its format's schema says.

    Unknown limits of the policy are refused; unknown figures stand in `sections`, each with a version of its own.
    """
    form = document.get("format")
    if not isinstance(form, str) or form not in SCHEMA_FILES:
        raise UserError(
            f"Expected a certificate whose format is among {', '.join(SCHEMA_FILES)}, got {str(form)[:100]!r}: a newer "
            "format needs a newer del-audit."
        )
    error = next(iter(_checker(form).iter_errors(dict(document))), None)
    if error is not None:
        where = ".".join(map(str, error.instance_path)) or "certificate"
        raise UserError(f"Expected a certificate as in {SCHEMA_FILES[form]}, got at {where}: {error.message[:300]}.")


@lru_cache(maxsize=5)
def _checker(form: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema(form))
