"""A user's own mechanism, found by "package.module:Class" or by an entry point, and made from what is public.

The class has `of(public, **options)`, a classmethod that returns an ObservableMechanism. It may also be a KnownChannel,
may state `token_bits`, and may claim an epsilon (ClaimsEpsilon). docs/how-to/own-mechanism.md shows a whole one.
"""

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError, first_line
from mechanisms.mechanism import ObservableMechanism
from mechanisms.public_words import PublicWords
from mechanisms.registry import MECHANISMS

ENTRY_POINTS = "del_audit.mechanisms"
"""The group of entry points under which an installed package names its mechanisms."""

_METHODS = ("of", "release", "observed", "embeddings")
_PARTS = ("name", "spec", *_METHODS[1:])
_DESCRIPTION = ("to_dict", "fingerprint")
_CONTRACT = "docs/how-to/own-mechanism.md has a whole one."


@runtime_checkable
class ClaimsEpsilon(Protocol):
    """A mechanism whose author claims an epsilon of one token. Reports state it as claimed: it is not proved."""

    def token_epsilon(self, delta: float) -> float:
        """Returns the claimed epsilon of one token in nats at this delta, 0 or more; infinity where there is none."""
        ...


def built_in_kinds() -> tuple[str, ...]:
    """Returns the kinds of the built-in mechanisms: the registry's keys with hyphens.

    >>> built_in_kinds()[:2]
    ('del', 'randomized-response')
    """
    return tuple(key.replace(" ", "-") for key in MECHANISMS)


def own_mechanism(kind: str, public: PublicWords, options: Mapping[str, Json] | None = None) -> ObservableMechanism:
    """Returns a user's own mechanism.

    kind: "package.module:Class", or the name of an entry point of the group del_audit.mechanisms. options: what `of`
    of the class takes beside the public words.
    Raises UserError for a kind as own_class does, for options that `of` does not take or lacks, for an error of the
    class's own code, and where what it returns is no mechanism.
    """
    made_by, given = own_class(kind), dict(options or {})
    of = made_by.of  # type: ignore[attr-defined]  # own_class has seen it
    _check_options(kind, inspect.signature(of), public, given)
    try:
        made: object = of(public, **given)
    except UserError as error:
        raise UserError(f"Mechanism {kind!r}: {error}") from None
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(
            f"Expected {made_by.__name__}.of to make mechanism {kind!r} from options={given!r}, got {said}."
        ) from error
    return _checked(kind, made_by, made)


def own_class(kind: str) -> type:
    """Returns the class that a kind names: of "package.module:Class", or of an entry point of that name.

    A module is found as Python finds it, and last in the working folder.
    Raises UserError for an unknown name, for one that two distributions claim, for a module that cannot be imported,
    for a name that is not in it, and for what is no class with the methods of a mechanism.
    """
    module, colon, path = kind.partition(":")
    if not colon:
        entry = _entry_point(kind)
        module, path = entry.module, entry.attr
    if not module or not path:
        raise UserError(f'Expected the kind of a mechanism as "package.module:Class", got {kind!r}.')
    found = _imported(kind, module)
    for part in path.split("."):
        found = _member(kind, found, part, module)
    if not inspect.isclass(found):
        raise UserError(f"Expected {kind!r} to name a class, got {type(found).__name__}.")
    for method in _METHODS:
        if not callable(getattr(found, method, None)):
            raise UserError(
                f"Expected {found.__name__} of mechanism {kind!r} to have the methods {', '.join(_METHODS)}, "
                f"got none called {method}: {_CONTRACT}"
            )
    if not isinstance(inspect.getattr_static(found, "of"), (classmethod, staticmethod)):
        raise UserError(f"Expected {found.__name__}.of of mechanism {kind!r} to be a classmethod: {_CONTRACT}")
    return found


def _entry_point(kind: str) -> EntryPoint:
    """Returns the one entry point of a name; raises UserError for none, for several, and for a built-in's name."""
    if kind in built_in_kinds():
        raise UserError(
            f'Expected a mechanism of your own, "package.module:Class" or the name of an entry point, got the built-in '
            f"kind={kind!r}."
        )
    group = entry_points(group=ENTRY_POINTS)
    named = [entry for entry in group if entry.name == kind]
    if len(named) == 1:
        return named[0]
    if named:
        owners = " and ".join(f"{entry.dist.name} {entry.dist.version}" for entry in named if entry.dist)
        raise UserError(
            f"Expected one entry point {kind!r} of the group {ENTRY_POINTS}, got {len(named)}, of {owners}: uninstall "
            'one of them, or write "package.module:Class".'
        )
    own = sorted({entry.name for entry in group})
    known = [*built_in_kinds(), *own]
    raise UserError(
        f"Expected the kind of a mechanism to be one of {', '.join(built_in_kinds())}, an entry point of the group "
        f'{ENTRY_POINTS} ({", ".join(own) or "none is installed"}), or "package.module:Class", got kind={kind!r}.'
        f"{_hint(kind, known)}"
    )


def _imported(kind: str, module: str) -> object:
    with _working_folder():
        try:
            return importlib.import_module(module)
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"Expected module {module!r} of mechanism {kind!r} to be importable, got {said}. Install its package, "
                "or run where its folder is."
            ) from error


@contextmanager
def _working_folder() -> Iterator[None]:
    """Lets modules be found in the working folder too, after all others, while it is open."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _member(kind: str, found: object, name: str, module: str) -> object:
    if not hasattr(found, name):
        raise UserError(
            f"Expected {kind!r} to name what is in module {module!r}, got no {name!r} there.{_hint(name, dir(found))}"
        )
    member: object = getattr(found, name)
    return member


def _check_options(kind: str, signature: inspect.Signature, public: PublicWords, given: dict[str, Json]) -> None:
    """Raises UserError for options that `of` does not take, and where it needs others."""
    taken = list(signature.parameters.values())[1:]
    names = [one.name for one in taken if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes = f"Expected options that mechanism {kind!r} takes ({', '.join(names) or 'none'})"
    if not any(one.kind is one.VAR_KEYWORD for one in taken):
        for name in given:
            if name not in names:
                raise UserError(f"{takes}, got {name!r}.{_hint(name, names)}")
    try:
        signature.bind(public, **given)
    except TypeError as error:
        raise UserError(f"{takes}: {error}.") from None


def _checked(kind: str, made_by: type, made: object) -> ObservableMechanism:
    """Returns what `of` made; raises UserError where parts of a mechanism are missing."""
    missing = [part for part in _PARTS if not hasattr(made, part)]
    if not isinstance(made, ObservableMechanism) or missing:
        _no_mechanism(kind, made_by, f"{type(made).__name__} without {', '.join(missing)}")
    if not isinstance(made.name, str) or not made.name:
        _no_mechanism(kind, made_by, f"name={made.name!r}, which is no text")
    missing = [part for part in _DESCRIPTION if not hasattr(made.spec, part)]
    if missing:
        _no_mechanism(kind, made_by, f"spec={type(made.spec).__name__} without {', '.join(missing)}")
    return made


def _no_mechanism(kind: str, made_by: type, got: str) -> NoReturn:
    raise UserError(
        f"Expected {made_by.__name__}.of of {kind!r} to return a mechanism with {', '.join(_PARTS)}, its spec with "
        f"{' and '.join(_DESCRIPTION)}, got {got}: {_CONTRACT}"
    )


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]!r}?" if near else ""
