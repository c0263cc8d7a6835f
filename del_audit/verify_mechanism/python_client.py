"""A client that is a Python function: release(values) -> counts, both arrays of shape (n, dim)."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from del_audit.verify_mechanism.target import NoAnswer, Target
from mechanisms.errors import UserError
from mechanisms.user_path import user_path

_NAME = "client_under_test"
"""Under which a client's file is imported: its own name may be another module's."""


@contextmanager
def python_client(
    release: str, message: str | None = None, charged: str | None = None, replay: str | None = None
) -> Iterator[Target]:
    """Yields the client that functions make: FILE.py:NAME or MODULE:NAME; the others may be a NAME of the same module.

    While it is open, modules are found beside the file or in the working folder, and what the client prints goes to
    standard error. Raises UserError for a module that cannot be imported and a name that is no function.
    """
    home, colon, _ = release.rpartition(":")
    if not home or not colon:
        raise UserError(f"Expected --python FILE.py:NAME or MODULE:NAME, got {release!r}.")
    path = list(sys.path)
    try:
        with redirect_stdout(sys.stderr):
            function = _function(release, home)
            asked = {"message": message, "charged": charged, "replay": replay}
            others = {kind: _function(name, home) for kind, name in asked.items() if name is not None}
            yield Target("python", release, function, **others)  # type: ignore[arg-type]
    finally:
        sys.path[:] = path
        sys.modules.pop(_NAME, None)


def _function(name: str, home: str) -> Callable[..., object]:
    module, _, dotted = name.rpartition(":")
    found: object = _module(module or home)
    for part in dotted.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UserError(f"Expected {name!r} to name a function of {module or home}, got {type(found).__name__}.")
    return _answering(found)


def _module(name: str) -> ModuleType:
    """Returns a module by its name or its file; the same file is run once."""
    if not name.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return _imported(name, lambda: importlib.import_module(name))
    file = user_path(name, "--python").resolve()
    if not file.is_file():
        raise UserError(f"Expected --python to name a file that exists, got {name!r}.")
    known = sys.modules.get(_NAME)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(_NAME, file)
    if spec is None or spec.loader is None:
        raise UserError(f"Expected --python to name a Python file, got {name!r}.")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.path.insert(0, str(file.parent))
    sys.modules[_NAME] = module  # dataclasses look their own module up

    def run() -> ModuleType:
        loader.exec_module(module)
        return module

    return _imported(name, run)


def _imported(name: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise UserError(f"Expected to import {name!r}, got {type(error).__name__}: {error}.") from None


def _answering(function: Callable[..., object]) -> Callable[..., object]:
    """Returns a function that cannot end the audit: a client that calls sys.exit is no verdict."""

    def call(*arguments: object) -> object:
        try:
            return function(*arguments)
        except SystemExit as error:
            raise NoAnswer(f"the client asked Python to end, with {error.code!r}") from None

    return call
