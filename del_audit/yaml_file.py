"""YAML files that a user writes, read into pydantic models: unknown keys, repeated keys and aliases are refused."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mechanisms.errors import UserError

LARGEST_FILE = 1 << 20
"""Bytes. Such a file is a page of text; more is a mistake or an attack."""


class Strict(BaseModel):
    """A model that takes no unknown key, converts nothing, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


Model = TypeVar("Model", bound=Strict)


def load_yaml(path: Path, model: type[Model], what: str) -> Model:
    """Returns the model in a YAML file; `what` names it in errors: a configuration, a session.

    Raises UserError for a file that cannot be read, is no YAML, or has an unknown key or a value out of range.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"Expected a {what} of at most {LARGEST_FILE} bytes, got {path.stat().st_size}.")
        text = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Expected a readable UTF-8 {what} file, got {str(path)!r}: {error}.") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Expected valid YAML in {str(path)!r}: {said[:300]}.") from None
    if not isinstance(content, dict):
        raise UserError(f"Expected {str(path)!r} to hold keys and values, got {type(content).__name__}.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_said(each, what) for each in error.errors()) + ".") from None


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice, and aliases, which can make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(problem="aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping of a node; raises ConstructorError for a key that stands in it twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} is given twice")
        return super().construct_mapping(node, deep)


def _said(error: Any, what: str) -> str:
    """Returns one validation error as `key: what was expected, what was got`."""
    where = ".".join(map(str, error["loc"])) or what
    if error["type"] == "extra_forbidden":
        return f"Expected only known keys, got the unknown key {where!r}"
    if error["type"] == "missing":
        return f"Expected the key {where!r}, got none"
    got = "" if isinstance(error["input"], (dict, list)) else f", got {error['input']!r}"
    return f"{where}: {error['msg']}{got}"
