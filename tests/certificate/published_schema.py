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


def published_schema() -> dict[str, Any]:
    mode: JsonSchemaMode = "serialization"
    found = Certificate.model_json_schema(schema_generator=Published, mode=mode)
    for part in found["$defs"].values():
        part.pop("title", None)
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
