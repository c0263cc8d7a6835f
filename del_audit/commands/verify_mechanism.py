"""`del-audit verify-mechanism`: does a client, any client, release what its spec claims?"""

import argparse
from typing import TYPE_CHECKING

from del_audit.commands.values import Commands, add_machine, add_quantizer, configured, path, real, whole
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from del_audit.evidence.verification.words import WordLaw
    from del_audit.verify_mechanism.target import Target
    from mechanisms.spec import QuantizerSpec

TARGETS = ("python", "command", "http", "bundle")
QUANTIZER = ("bits", "dim", "clip", "scale", "mu")
TIME_OUT = 30.0


def add_parser(commands: Commands) -> None:
    """Adds `verify-mechanism` to the commands."""
    parser = commands.add_parser(
        "verify-mechanism",
        help="does a client, any client, release what its spec claims?",
        description="Drives a client as a black box and tests its releases against the exact law of the claimed "
        "quantizer or word mechanism. "
        "Without a target it tests del-audit's own client. Exit codes: 0 nothing was found, 1 a fault, 2 user error.",
        allow_abbrev=False,
    )
    _add_targets(parser)
    _add_claim(parser)
    parser.add_argument("--trials", type=whole("trials"), help="rows of the main design, 200 at least (default: 20000)")
    parser.add_argument("--alpha", type=real("alpha"), default=1e-3, help="chance of any false alarm (default: 1e-3)")
    parser.add_argument("--seed", type=whole("seed"), help="of the inputs (default: drawn, and reported)")
    parser.add_argument(
        "--time-out", type=real("time-out"), default=TIME_OUT, help="seconds for an answer (default: 30)"
    )
    parser.add_argument(
        "--out", type=path("--out", new=True), metavar="FILE.json", help="write the report; must not exist yet"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of the table")
    parser.set_defaults(run=_verify_mechanism)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    targets = parser.add_argument_group("the client, one of these")
    targets.add_argument(
        "--python", metavar="FILE.py:NAME", help="function values -> counts, or tokens -> observed, also MODULE:NAME"
    )
    targets.add_argument("--command", metavar="COMMAND", help="program that answers JSON lines")
    targets.add_argument("--http", metavar="URL", help="server that answers a POST of JSON")
    targets.add_argument(
        "--bundle", type=path("--bundle"), metavar="FOLDER", help="a client's folder, of `del-audit bundle`"
    )
    more = parser.add_argument_group("with --python, further functions of the same client")
    more.add_argument("--message", metavar="NAME", help="values -> the wire message, bytes")
    more.add_argument("--charged", metavar="NAME", help="() -> tokens charged so far")
    more.add_argument("--replay", metavar="NAME", help="values, source of random words -> counts")


def _add_claim(parser: argparse.ArgumentParser) -> None:
    claim = parser.add_argument_group("the claim (default with --bundle: its own)")
    add_quantizer(claim)
    claim.add_argument(
        "--config", type=path("--config"), metavar="CONFIG", help="YAML file of `del-audit certify`, instead"
    )
    add_machine(claim, beside="with --config: ")
    claim.add_argument(
        "--spec", type=path("--spec"), metavar="FILE.json", help="record of DEL or of a word mechanism, instead"
    )
    claim.add_argument(
        "--symbols", type=path("--symbols"), metavar="FILE", help="with --spec of coarse words: each word's symbol"
    )


def _verify_mechanism(arguments: argparse.Namespace) -> int:
    _check(arguments)
    from del_audit.verify_mechanism.audit import run
    from del_audit.verify_mechanism.claim import claimed_record, claimed_spec

    claim: QuantizerSpec | WordLaw
    if arguments.spec is not None:
        claim = claimed_record(arguments.spec, arguments.symbols)
    else:
        config = configured(arguments.config, arguments) if arguments.config is not None else None
        bits, dim, clip, scale, mu = (getattr(arguments, name) for name in QUANTIZER)
        claim = claimed_spec(bits, dim, clip, scale, mu, config, arguments.bundle)
    target = _target(arguments, claim)
    return run(target, claim, arguments.trials, arguments.alpha, arguments.seed, arguments.out, arguments.json)


def _target(arguments: argparse.Namespace, claim: "QuantizerSpec | WordLaw") -> "AbstractContextManager[Target]":
    """Returns a context manager that yields the client; raises UserError for one that the claim does not fit."""
    from del_audit.evidence.verification.words import WordLaw

    own = arguments.spec is None  # with the folder's own claim nothing can contradict it
    quantizers = [f"--{name}" for name in ("bundle", "replay") if getattr(arguments, name) is not None]
    quantizers = [name for name in quantizers if not (own and name == "--bundle")]
    if isinstance(claim, WordLaw) and quantizers:
        raise UserError(
            f"Expected {quantizers[0]} with a claim of the n-bit quantizer, got one of {claim.spec.kind}: leave it out."
        )
    if arguments.python is not None:
        from del_audit.verify_mechanism.python_client import python_client

        return python_client(arguments.python, arguments.message, arguments.charged, arguments.replay)
    if arguments.command is not None:
        from del_audit.verify_mechanism.command_client import command_client

        return command_client(arguments.command, claim, arguments.time_out)
    if arguments.http is not None:
        from del_audit.verify_mechanism.http_client import http_client

        return http_client(arguments.http, claim, arguments.time_out)
    from del_audit.verify_mechanism.own_client import bundle_claim, own_client
    from del_audit.verify_mechanism.word_clients import own_word_client

    named = ("bundle", str(arguments.bundle)) if arguments.bundle is not None else ()
    run = claim if arguments.bundle is None else bundle_claim(arguments.bundle)
    if isinstance(run, WordLaw) != isinstance(claim, WordLaw):
        kind = run.spec.kind if isinstance(run, WordLaw) else "the n-bit quantizer"
        raise UserError(f"Expected a claim of {kind}, which {str(arguments.bundle)!r} runs, got another: leave it out.")
    return own_word_client(run, *named) if isinstance(run, WordLaw) else own_client(run, *named)


def _check(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that do not go together."""
    given = [f"--{name}" for name in TARGETS if getattr(arguments, name) is not None]
    if len(given) > 1:
        raise UserError(f"Expected at most one of --{', --'.join(TARGETS)}, got {' and '.join(given)}.")
    further = [f"--{name}" for name in ("message", "charged", "replay") if getattr(arguments, name) is not None]
    if further and arguments.python is None:
        raise UserError(f"Expected {' and '.join(further)} with --python only.")
    if arguments.symbols is not None and arguments.spec is None:
        raise UserError("Expected --symbols with --spec only: the record of coarse words that the map belongs to.")
    others = [f"--{name}" for name in (*QUANTIZER, "config") if getattr(arguments, name) is not None]
    if arguments.spec is not None and others:
        raise UserError(f"Expected --spec or another claim, got --spec and {' and '.join(others)}.")
    if not 0 < arguments.time_out <= 3600:
        raise UserError(f"Expected --time-out in (0, 3600] seconds, got time-out={arguments.time_out}.")
    if arguments.out is not None and arguments.out.exists():
        raise UserError(f"Expected --out to be a file that does not exist yet, got {str(arguments.out)!r}.")
