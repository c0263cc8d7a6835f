"""The description of a mechanism as a certificate states it: of DEL its four fields, of any other its kind first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mechanisms.canonical_json import Json, canonical_sha256
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.registry import MECHANISMS, described
from mechanisms.spec import QuantizerSpec

MOST_FIELDS, LONGEST_FIELD = 64, 1_000


@dataclass(frozen=True, slots=True)
class OwnSpec:
    """The description of a mechanism that is none of the registry's: what its `to_dict` said."""

    record: Mapping[str, Json]

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return dict(self.record)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name the description: sha256 of its fields in canonical JSON (RFC 8785)."""
        return bytes.fromhex(canonical_sha256(self.to_dict()))


def spec_of(record: Mapping[str, Json]) -> Description:
    """Returns the description of a record; raises UserError for values that a known kind refuses."""
    if record.get("kind", "del") in MECHANISMS:
        return described(record)
    return OwnSpec(dict(record))


class _OtherKind:
    """How a description that is not the quantizer's is read and written."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(lambda spec: spec.to_dict())
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "title": "Mechanism",
            "description": "Any other mechanism: its kind, and its fields under their names.",
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": {
                    "description": "Its kind: not del.",
                    "type": "string",
                    "maxLength": 200,
                    "not": {"const": "del"},
                }
            },
            "additionalProperties": {"type": ["string", "number", "boolean", "null"], "maxLength": LONGEST_FIELD},
            "maxProperties": MOST_FIELDS,
        }


def _read(value: object) -> Description:
    if isinstance(value, QuantizerSpec):
        raise ValueError("expected a mechanism other than DEL")
    if isinstance(value, Description):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or value["kind"] == "del":
        raise ValueError("expected a mechanism's fields with its kind")
    simple = all(isinstance(one, str | int | float | bool | None) for one in value.values())
    if not simple or len(value) > MOST_FIELDS:
        raise ValueError(f"expected at most {MOST_FIELDS} fields of text, numbers, true, false and null")
    try:
        return spec_of(value)
    except UserError as error:
        raise ValueError(str(error)) from None


OtherSpec = Annotated[Description, _OtherKind]
"""The description of a mechanism other than DEL."""
MechanismSpec = QuantizerSpec | OtherSpec
"""The description of any mechanism."""
