"""YAML files that a user writes, read into pydantic models: unknown keys, repeated keys and aliases are refused."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from mechanisms.errors import UserError
from mechanisms.small_file import read_small_text

LARGEST_FILE = 1 << 20
"""Bytes. Such a file is a page of text; more is a mistake or an attack."""
MOST_LINES = 20_000
MOST_NODES = 20_000
"""Keys and values. This and the lines bound the time that the parser takes, to about half a second."""
DEEPEST = 64
LONGEST_NUMBER = 64
"""Characters: more digits than any number here means anything by."""
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_UNCLEAR = re.compile(
    r"""[-+]?(?:0[xX][0-9a-fA-F_]+ | 0[oO][0-7_]+ | 0[bB][01_]+ | [0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?
        | (?:[0-9][0-9_]*(?:\.[0-9_]*)? | \.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?)\Z""",
    re.VERBOSE,
)
"""What readers of YAML disagree about: octal or decimal, base 60 or text. It is asked after the numbers."""
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_TAG = "tag:yaml.org,2002:"
_UNCLEAR_TAG = "tag:del-audit,2024:unclear"
_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]
_NO_YAML = (yaml.YAMLError, RecursionError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""How the parser fails: its constructors in all these ways, on a tag that its text does not fit (!!timestamp x)."""


class Strict(BaseModel):
    """A model that takes no unknown key, converts nothing, and does not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


def not_null(schema: JsonDict) -> None:
    """Takes null out of a field's published schema: certificates state what a file may leave open."""
    kinds, inner = schema.get("type"), schema.pop("then", None)
    if isinstance(inner, dict):
        del schema["if"]
        schema.update(inner)
    elif isinstance(kinds, list):
        schema["type"] = next(kind for kind in kinds if kind != "null")


Model = TypeVar("Model", bound=Strict)


def load_yaml(path: Path, model: type[Model], what: str, changes: Mapping[str, object] | None = None) -> Model:
    """Returns the model in a YAML file; `what` names it in errors: a configuration, a session.

    changes: keys, those below another with a point between, and values that stand in for the file's. Raises UserError
    for a file that cannot be read, is no YAML, is too much of it, or has an unknown key or a value out of range.
    """
    text = read_small_text(path, LARGEST_FILE, what)
    if (lines := len(text.splitlines())) > MOST_LINES:
        raise UserError(f"Expected a {what} of at most {MOST_LINES} lines, got {lines} in {str(path)!r}.")
    try:
        content = yaml.load(text, Loader=_Bounded)  # a SafeLoader
    except _NO_YAML as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Expected valid YAML in {str(path)!r}: {said[:300]}.") from None
    if not isinstance(content, dict):
        raise UserError(f"Expected {str(path)!r} to hold keys and values, got {type(content).__name__}.")
    try:
        return model.model_validate(_changed(content, changes or {}))
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_said(each, what) for each in error.errors()) + ".") from None


def _changed(content: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Returns a file's content with other values; what is no mapping stays, and the model refuses it."""
    changed = dict(content)
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        below = changed.get(first, {})
        if not rest:
            changed[first] = value
        elif isinstance(below, Mapping):
            changed[first] = _changed(below, {rest: value})
    return changed


def _resolvers() -> _Resolvers:
    """Returns, for the first character of a plain scalar, its kinds in the order in which they are tried."""
    numbers = [("int", _WHOLE), ("float", _NUMBER), ("float", _NOT_FINITE)]
    kinds = [(_TAG + kind, form) for kind, form in numbers] + [(_UNCLEAR_TAG, _UNCLEAR)]
    words = [("bool", _TRUE + _FALSE), ("null", ("null", "Null", "NULL", "~", ""))]
    found: _Resolvers = {first: list(kinds) for first in "-+.0123456789"}
    for kind, texts in words:
        form = re.compile(f"(?:{'|'.join(texts)})\\Z")
        for first in sorted({text[:1] for text in texts}):
            found[first] = [(_TAG + kind, form)]
    return found


class _Bounded(yaml.SafeLoader):
    """Refuses a key given twice, aliases, which can make a small file huge, and what takes the parser long.

    Plain scalars are decimal numbers, true or false, null, or text; dates, yes and no are text. A number that readers
    of YAML take differently (020, 0x1F, 1_000, 1:30) is refused, since both its readings are plausible.
    """

    yaml_implicit_resolvers = _resolvers()

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(problem="aliases are not allowed")
        if self._nodes > MOST_NODES:
            raise yaml.constructor.ConstructorError(problem=f"more than {MOST_NODES} keys and values")
        if self._depth > DEEPEST:
            raise yaml.constructor.ConstructorError(problem=f"more than {DEEPEST} nested levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Returns the mapping of a node; raises ConstructorError for a key that stands in it twice."""
        seen = set()
        for name, _ in node.value:
            key = self.construct_object(name, deep=True)  # a key that is no scalar has no hash: TypeError
            if key in seen:
                raise yaml.constructor.ConstructorError(problem=f"key {str(key)[:80]!r} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """Returns the text of a scalar; raises ConstructorError for a NUL, which no path and no name can hold."""
        text = super().construct_scalar(node)
        if isinstance(text, str) and "\0" in text:
            raise yaml.constructor.ConstructorError(problem=f"a null character in {text[:80]!r}")
        return text

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Returns the number of a scalar; raises ConstructorError for one of more than LONGEST_NUMBER characters."""
        if len(node.value) > LONGEST_NUMBER:
            problem = f"a number of {len(node.value)} characters, at most {LONGEST_NUMBER} are allowed"
            raise yaml.constructor.ConstructorError(problem=problem)
        whole, text = node.tag.endswith(":int"), node.value
        if not whole and _NOT_FINITE.match(text):
            return float(text.replace(".", "", 1))
        if not (_WHOLE if whole else _NUMBER).match(text):
            self.refuse_number(node)
        return int(text) if whole else float(text)

    def construct_truth(self, node: yaml.ScalarNode) -> bool:
        """Returns the boolean of a scalar; raises ConstructorError for all but true and false."""
        if node.value not in _TRUE + _FALSE:
            raise _refused(node, "write true or false")
        return node.value in _TRUE

    def refuse_number(self, node: yaml.ScalarNode) -> None:
        """Raises ConstructorError, which says what to write instead."""
        raise _refused(
            node,
            "write a decimal number without leading zeros, underscores, colons or prefixes, or put it in quotes if it "
            "is text",
        )


for _kind in ("int", "float"):
    _Bounded.add_constructor(_TAG + _kind, _Bounded.construct_number)
_Bounded.add_constructor(_TAG + "bool", _Bounded.construct_truth)
_Bounded.add_constructor(_UNCLEAR_TAG, _Bounded.refuse_number)


def _either(*classes: type[yaml.SafeLoader | yaml.SafeDumper]) -> _Resolvers:
    resolvers = [each.yaml_implicit_resolvers for each in classes]
    return {first: [kind for each in resolvers for kind in each.get(first, [])] for first in set().union(*resolvers)}


class _Plain(yaml.SafeDumper):
    """Quotes whatever text this reader or PyYAML's own would take for something else: 1e5, yes, 2020-01-01."""

    yaml_implicit_resolvers = _either(_Bounded, yaml.SafeDumper)


def dump_yaml(content: object, width: int) -> str:
    """Returns content as YAML that load_yaml reads back as it was; width: characters of a line."""
    return str(yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=width))


def _refused(node: yaml.ScalarNode, advice: str) -> yaml.constructor.ConstructorError:
    line = node.start_mark.line + 1
    return yaml.constructor.ConstructorError(problem=f"line {line}: got {node.value[:80]!r}, {advice}")


def _said(error: ErrorDetails, what: str) -> str:
    """Returns one validation error as `key: what was expected, what was got`."""
    where = ".".join(str(each)[:80] for each in error["loc"]) or what
    if error["type"] == "extra_forbidden":
        return f"Expected only known keys, got the unknown key {where!r}"
    if error["type"] == "missing":
        return f"Expected the key {where!r}, got none"
    got = "" if isinstance(error["input"], (dict, list)) else f", got {repr(error['input'])[:100]}"
    return f"{where}: {error['msg']}{got}"
