"""The published schema of today's certificates, generated from the models: run as a program, it writes the file."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

import del_audit.certificate
from del_audit.certificate.model import LONGEST_TEXT, Certificate
from del_audit.certificate.schema import FORMAT_6, SCHEMA_FILES

FILE = Path(del_audit.certificate.__file__).parent / "schema" / SCHEMA_FILES[FORMAT_6]


class Published(GenerateJsonSchema):
    """Draft 2020-12 with a place for each error: what may be null is asked after it is known not to be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and inner["type"] != "object":
            return {**inner, "type": [inner["type"], "null"]}
        return {"if": {"not": {"type": "null"}}, "then": inner}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        found.pop("propertyNames", None)
        return found

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # a certificate has every field, its configuration's too

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        found = super().str_schema(schema)
        return found if "pattern" in found else {"maxLength": LONGEST_TEXT, **found}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True


def by_kind(part: Any, models: dict[str, Any]) -> Any:
    """Returns a part of a schema whose choices of mechanisms are asked for by their kind: an error then has its place.

    models: the definitions. A choice without a kind of its own comes last.
    """
    if isinstance(part, list):
        return [by_kind(one, models) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: by_kind(value, models) for name, value in part.items()}
    if "anyOf" not in found:
        return found
    choices = {_kind_of(choice, models): choice for choice in found.pop("anyOf")}
    last = choices.pop("", None) or {"required": ["kind"], "properties": {"kind": {"enum": list(choices)}}}
    for kind, choice in choices.items():
        asked: dict[str, Any] = {"required": ["kind"], "properties": {"kind": {"const": kind}}}
        last = {"if": {"required": ["kind"]} if kind == "*" else asked, "then": choice, "else": last}
    return {**found, **last}


def _kind_of(choice: dict[str, Any], models: dict[str, Any]) -> str:
    """Returns a choice's own kind; * where it has any, and nothing where it has none or what is left."""
    model = models[choice["$ref"].rsplit("/", 1)[1]] if "$ref" in choice else choice
    kind = model.get("properties", {}).get("kind", {})
    return str(kind.get("const", "*" if "not" in kind else ""))


def published_schema() -> dict[str, Any]:
    mode: JsonSchemaMode = "serialization"
    found = Certificate.model_json_schema(schema_generator=Published, mode=mode)
    for part in found["$defs"].values():
        part.pop("title", None)
    models = found["$defs"]
    found = {name: by_kind(part, models) for name, part in found.items()}
    found["properties"]["format"]["const"] = FORMAT_6
    del found["properties"]["format"]["enum"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:del-audit:certificate-6",
        **found,
        "title": "del-audit certificate, format 6",
    }


def written() -> str:
    return json.dumps(published_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf8")
