"""The command `del-audit`. Each subcommand imports what it needs when it runs, so that all of them start at once."""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from mechanisms.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 2 for what the user can mend, 130 when interrupted."""
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"del-audit: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("del-audit: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` for one, has seen enough; keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the house's, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError with argparse's message."""
        raise UserError(f"{message.rstrip('.')}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="del-audit", description="Account for, attack and certify DEL releases.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"del-audit {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_account(commands)
    _add_certify(commands)
    _add_train(commands)
    return parser


def _add_account(commands: "argparse._SubParsersAction[_Parser]") -> None:
    account = commands.add_parser(
        "account",
        help="the exact guarantee of a quantizer, for a unit",
        description="Prints the exact epsilon, total variation and pure epsilon of a stochastic n-bit quantizer, "
        "beside what the paper's Theorem 4.2 certifies. All epsilons are in nats.",
        allow_abbrev=False,
    )
    account.add_argument("--bits", type=_whole("bits"), required=True, help="bits a coordinate, 1 to 8")
    account.add_argument("--dim", type=_whole("dim"), required=True, help="coordinates a token")
    account.add_argument("--clip", type=_real("clip"), required=True, help="largest magnitude of a coordinate")
    account.add_argument("--scale", type=_real("scale"), help="the quantizer's range, above clip (or give --mu)")
    account.add_argument("--mu", type=_real("mu"), help="the paper's mu, from which the scale follows")
    account.add_argument("--unit", default="token", help="token, phrase, prompt or session (default: token)")
    account.add_argument("--tokens", type=_whole("tokens"), default=1, help="tokens in the unit (default: 1)")
    account.add_argument("--delta", type=_real("delta"), default=1e-5, help="in (0, 1) (default: 1e-5)")
    account.add_argument("--json", action="store_true", help="print JSON with stable keys")
    account.set_defaults(run=_account)


def _add_certify(commands: "argparse._SubParsersAction[_Parser]") -> None:
    certify = commands.add_parser(
        "certify",
        help="attack a configuration and certify it against its policy",
        description="Exit codes: 0 certified, 1 refused, 3 inconclusive, 2 user error.",
        allow_abbrev=False,
    )
    certify.add_argument("config", type=Path, help="YAML file of the configuration and its policy")
    certify.add_argument("--out", type=Path, help="folder for the results (default: out/NAME)")
    certify.add_argument("--json", action="store_true", help="print the certificate as JSON; the table goes to stderr")
    certify.set_defaults(run=_certify)


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> None:
    train = commands.add_parser("train", help="train a part of a configuration on its public text", allow_abbrev=False)
    parts = train.add_subparsers(title="parts", required=True, metavar="PART")
    prompt = parts.add_parser(
        "prompt",
        help="the soft prompt, with the mechanism's noise on",
        description="Writes a PEFT adapter with a JSON card; the private split is never read.",
        allow_abbrev=False,
    )
    prompt.add_argument("config", type=Path, help="YAML file of the configuration")
    prompt.add_argument("--out", type=Path, required=True, help="folder for the adapter; must not exist yet")
    prompt.add_argument("--steps", type=_whole("steps"), default=150, help="training steps (default: 150)")
    prompt.set_defaults(run=_train_prompt)


def _train_prompt(arguments: argparse.Namespace) -> int:
    from del_audit.train import train_prompt

    return train_prompt(arguments.config, arguments.out, arguments.steps)


def _account(arguments: argparse.Namespace) -> int:
    from del_audit.accounting import guarantee
    from mechanisms.spec import QuantizerSpec

    quantizer = {"bits": arguments.bits, "dim": arguments.dim, "clip": arguments.clip}
    if (arguments.scale is None) == (arguments.mu is None):
        got = "neither" if arguments.mu is None else f"scale={arguments.scale} and mu={arguments.mu}"
        raise UserError(f"Expected exactly one of --scale (above clip) and --mu (above 0), got {got}.")
    if arguments.mu is None:
        spec = QuantizerSpec(**quantizer, scale=arguments.scale)
    else:
        spec = QuantizerSpec.from_mu(**quantizer, mu=arguments.mu)
    result = guarantee(spec, arguments.unit, arguments.tokens, arguments.delta)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        from del_audit.accounting.table import render

        print(render(result))
    return 0


def _certify(arguments: argparse.Namespace) -> int:
    from del_audit.certificate.command import certify

    if not arguments.json:
        return certify(arguments.config, arguments.out)
    from del_audit.certificate.config import load_configuration

    folder = arguments.out or Path("out") / load_configuration(arguments.config).name
    with contextlib.redirect_stdout(sys.stderr):
        code = certify(arguments.config, folder)
    print((folder / "certificate.json").read_text(encoding="utf8"), end="")
    return code


def _whole(name: str) -> Callable[[str], int]:
    """Returns a converter of text to a whole number, with the house's error."""

    def convert(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"Expected {name} to be a whole number, got {name}={text!r}") from None

    return convert


def _real(name: str) -> Callable[[str], float]:
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


def _version() -> str:
    try:
        return version("del-audit")
    except PackageNotFoundError:
        return "0+unknown"
