"""Converters of the command line's values, with the house's errors, and the options that several commands have."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from del_audit.configuration.changed_file import ChangedFile, ConfigurationFile
from mechanisms.errors import UserError
from mechanisms.user_path import new_path, user_path

if TYPE_CHECKING:  # the parser stays light
    from del_audit.serving.listening import Listening
    from del_audit.workers.filling import Workers

Commands: TypeAlias = "argparse._SubParsersAction[Any]"
"""What the parser of a command is added to."""
WORKER_OPTIONS = ("workers", "ray", "gpus_per_worker")
"""The options of add_workers, as a parser stores them."""
NUMBER_FORMATS = ("auto", "float32", "bfloat16", "float16")


def path(name: str, new: bool = False) -> Callable[[str], Path]:
    """Returns a converter of text to a path that can be used, as user_path checks it; new: as new_path does."""

    def convert(text: str) -> Path:
        try:
            return new_path(text, name) if new else user_path(text, name)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole(name: str) -> Callable[[str], int]:
    """Returns a converter of text to a whole number, with the house's error."""

    def convert(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"Expected {name} to be a whole number, got {name}={text!r}") from None

    return convert


def real(name: str) -> Callable[[str], float]:
    """Returns a converter of text to a finite number, with the house's error."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"Expected {name} to be a finite number, got {name}={text!r}")
        return value

    return convert


def reals(name: str) -> Callable[[str], tuple[float, ...]]:
    """Returns a converter of text to finite numbers between commas, with the house's error."""
    one = real(name)
    return lambda text: tuple(one(part) for part in text.split(","))


def wholes(name: str) -> Callable[[str], tuple[int, ...]]:
    """Returns a converter of text to whole numbers between commas, with the house's error."""
    one = whole(name)
    return lambda text: tuple(one(part) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Converts text to the names between its commas.

    >>> names("map, beam")
    ('map', 'beam')
    """
    return tuple(part.strip() for part in text.split(","))


def option(name: str) -> str:
    """Returns the option that has a value's name.

    >>> option("total_variation")
    '--total-variation'
    """
    return "--" + name.replace("_", "-")


def require_tokens(unit: str, tokens: int | None) -> None:
    """Raises UserError where a unit of several tokens comes without their number: one token's figure is not its."""
    if tokens is None and unit in ("phrase", "prompt", "session"):
        raise UserError(
            f"Expected --tokens, a whole number >= 1, with --unit {unit}, got none: add --tokens 16 for a {unit} of 16 "
            "tokens."
        )


def add_config(parser: argparse.ArgumentParser, holds: str = "the configuration") -> None:
    """Adds the file of a configuration."""
    parser.add_argument("config", type=path("config"), help=f"YAML file of {holds}")


def add_machine(
    parser: "argparse._ActionsContainer", prefix: str = "", beside: str = "", dtype: str = "the configuration's"
) -> None:
    """Adds --device and --dtype of the language model, which stand in for a configuration's.

    prefix: of both names. beside: what the help says first. dtype: the default.
    """
    parser.add_argument(
        f"--{prefix}device",
        metavar="DEVICE",
        help=f"{beside}where the language model runs: auto (a CUDA device where there is one, else the CPU), cpu, "
        "cuda, cuda:1 or mps (default: the configuration's, else auto)",
    )
    parser.add_argument(
        f"--{prefix}dtype",
        choices=NUMBER_FORMATS,
        help=f"{beside}its number format; auto is that of its files (default: {dtype})",
    )


def configured(
    file: Path, arguments: argparse.Namespace, prefix: str = "", dtype: str | None = None
) -> ConfigurationFile:
    """Returns a configuration's file with what add_machine's options say in place of it; dtype: the default."""
    values = vars(arguments)
    given = {"device": values[f"{prefix}device"], "dtype": values[f"{prefix}dtype"] or dtype}
    changes = {name: value for name, value in given.items() if value is not None}
    return ChangedFile(file, changes) if changes else file


def add_workers(parser: "argparse._ActionsContainer") -> None:
    """Adds how many workers share a command's parts, and where they are."""
    parser.add_argument(
        "--workers",
        type=whole("workers"),
        metavar="N",
        help="processes, or actors of --ray, that share the work (default: 1; with --ray as many as there is room for)",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="give the work to a Ray cluster: host:port, or auto")
    parser.add_argument(
        "--gpus-per-worker", type=real("gpus-per-worker"), default=0.0, metavar="GPUS", help="with --ray (default: 0)"
    )


def workers_of(arguments: argparse.Namespace) -> "Workers":
    """Returns what add_workers' options say; raises UserError for values out of range."""
    from del_audit.workers.filling import Workers

    return Workers(arguments.workers, arguments.ray, arguments.gpus_per_worker)


def add_listening(parser: argparse.ArgumentParser, port: int) -> None:
    """Adds where a service listens and who may ask; port: the default."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=whole("port"), default=port, help=f"default: {port}")
    parser.add_argument(
        "--keys", type=path("--keys"), metavar="FILE", help="who may ask: lines of a name and an API key; mode 600"
    )
    parser.add_argument(
        "--tls-certificate", type=path("--tls-certificate"), metavar="PEM", help="answer over TLS, with --tls-key"
    )
    parser.add_argument("--tls-key", type=path("--tls-key"), metavar="PEM", help="private key of --tls-certificate")


def listening_of(arguments: argparse.Namespace) -> "Listening":
    """Returns what add_listening's options say; raises UserError without the extra, and for values out of range."""
    try:
        from del_audit.serving.listening import Listening
    except ImportError as error:
        raise UserError(
            f"Expected {error.name} for this command, which is not installed: install del-audit[serve]."
        ) from None
    return Listening(arguments.host, arguments.port, arguments.tls_certificate, arguments.tls_key)


def add_new_folder(parser: argparse.ArgumentParser, holds: str = "folder for the result") -> None:
    """Adds --out, a folder or a file that the command makes."""
    parser.add_argument("--out", type=path("--out", new=True), required=True, help=f"{holds}; must not exist yet")


def add_unit(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Adds --unit and its --tokens. default: token, or None where a command must know whether it was given."""
    parser.add_argument("--unit", default=default, help="token, phrase, prompt or session (default: token)")
    parser.add_argument("--tokens", type=whole("tokens"), help="tokens in the unit; needed for all but a token")


def add_delta(parser: argparse.ArgumentParser, help_text: str = "of every epsilon") -> None:
    """Adds --delta, 1e-5 unless told otherwise."""
    parser.add_argument("--delta", type=real("delta"), default=1e-5, help=f"{help_text} (default: 1e-5)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="print JSON with stable keys")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds --trust, which may be given again."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PUB",
        help="public key that may have signed it: a PEM file, or text in base64 or hex; may be given again "
        "(default: your own key and those in your folder trusted/)",
    )


def add_quantizer(parser: "argparse._ActionsContainer") -> None:
    """Adds what a quantizer is named by; none of it is needed."""
    parser.add_argument("--bits", type=whole("bits"), help="bits a coordinate, 1 to 8")
    parser.add_argument("--dim", type=whole("dim"), help="coordinates a token")
    parser.add_argument("--clip", type=real("clip"), help="largest magnitude of a coordinate")
    parser.add_argument("--scale", type=real("scale"), help="the quantizer's range, above clip (or give --mu)")
    parser.add_argument("--mu", type=real("mu"), help="the paper's mu, from which the scale follows")
