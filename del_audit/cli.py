"""The command `del-audit`. Each subcommand imports what it needs when it runs, so that all of them start at once."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NoReturn

from del_audit.attack.options import add_attack
from del_audit.certificate.options import add_certify, add_export, add_key, add_verify
from del_audit.client_options import add_bundle, add_send
from del_audit.exit_codes import INTERRUPTED, USER_ERROR
from del_audit.ledger_command import add_ledger
from del_audit.options import path as _path
from del_audit.options import real as _real
from del_audit.options import whole as _whole
from del_audit.private_options import add_private
from del_audit.reproduce.options import add_reproduce
from del_audit.train_options import add_train
from del_audit.tune.options import add_tune
from del_audit.verify_mechanism.options import add_verify_mechanism
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from del_audit.accounting.calibration import Target


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command inside another program and returns its exit code, 130 where it is interrupted.

    Raises what nobody expected; the command `del-audit` makes one line and code 70 of it (del_audit.entry).
    """
    try:
        return run(argv)
    except KeyboardInterrupt:
        print("del-audit: interrupted", file=sys.stderr)
        return INTERRUPTED


def run(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 2, after one line, for what the user can mend.

    Raises SystemExit for --help and --version alone, and what nobody expected.
    """
    try:
        return _command(_parser().parse_args(argv))
    except UserError as error:
        print(f"del-audit: error: {error}", file=sys.stderr)
        return USER_ERROR


def _command(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        return code
    except SystemExit as error:  # of a library: an end is no verdict
        raise RuntimeError(f"a library asked Python to end, with {error.code!r}") from error
    except FileNotFoundError:
        _require_working_folder()
        raise


def _require_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError(
            "Expected to be run in a folder that exists, got one that was removed: change to another one with cd."
        ) from None


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
    _add_calibrate(commands)
    add_certify(commands)
    add_verify(commands)
    add_verify_mechanism(commands)
    add_export(commands)
    add_key(commands)
    add_private(commands)
    add_attack(commands)
    add_train(commands)
    add_tune(commands)
    add_bundle(commands)
    add_send(commands)
    add_ledger(commands)
    _add_curve(commands)
    add_reproduce(commands)
    return parser


def _add_account(commands: "argparse._SubParsersAction[_Parser]") -> None:
    account = commands.add_parser(
        "account",
        help="the exact guarantee of a quantizer, for a unit",
        description="Prints the exact epsilon, total variation and pure epsilon of a stochastic n-bit quantizer, "
        "beside what the paper's Theorem 4.2 certifies. All epsilons are in nats.",
        allow_abbrev=False,
    )
    account.add_argument("--bits", type=_whole("bits"), help="bits a coordinate, 1 to 8")
    account.add_argument("--dim", type=_whole("dim"), help="coordinates a token")
    account.add_argument("--clip", type=_real("clip"), help="largest magnitude of a coordinate")
    account.add_argument("--scale", type=_real("scale"), help="the quantizer's range, above clip (or give --mu)")
    account.add_argument("--mu", type=_real("mu"), help="the paper's mu, from which the scale follows")
    account.add_argument("--unit", help="token, phrase, prompt or session (default: token)")
    account.add_argument("--tokens", type=_whole("tokens"), help="tokens in the unit; needed for all but a token")
    account.add_argument("--sends", type=_whole("sends"), help="times each token is sent with fresh noise (default: 1)")
    account.add_argument(
        "--session", type=_path("--session"), metavar="FILE", help="YAML file of a session, instead of all above"
    )
    account.add_argument("--dp-sgd", action="store_true", help="a training run's guarantee instead, by the next three")
    account.add_argument("--noise-multiplier", type=_real("noise-multiplier"), help="noise over the clipping norm")
    account.add_argument("--sample-rate", type=_real("sample-rate"), help="chance of an example to be in a batch")
    account.add_argument("--steps", type=_whole("steps"), help="training steps")
    account.add_argument(
        "--codes", type=_path("--codes"), metavar="FILE", help="a vocabulary's codes, .npy or .safetensors"
    )
    account.add_argument("--proved", action="store_true", help="enclose each figure of a quantizer by ball arithmetic")
    account.add_argument("--delta", type=_real("delta"), default=1e-5, help="in (0, 1) (default: 1e-5)")
    account.add_argument("--json", action="store_true", help="print JSON with stable keys")
    account.set_defaults(run=_account)


def _add_calibrate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="the smallest scale that is proved to meet a target",
        description="Finds the smallest scale whose proved guarantee meets exactly one target: --epsilon (at --delta), "
        "--delta (at --at-epsilon), --total-variation, or --attack-success (at --kappa).",
        allow_abbrev=False,
    )
    calibrate.add_argument("--bits", type=_whole("bits"), help="bits a coordinate, 1 to 8 (or give --bytes-a-token)")
    calibrate.add_argument(
        "--bytes-a-token", type=_whole("bytes-a-token"), help="choose the fewest bits worth sending within these bytes"
    )
    calibrate.add_argument(
        "--loss", type=_real("loss"), help="noise variance that --bytes-a-token may give up, relative (default: 0.05)"
    )
    calibrate.add_argument("--dim", type=_whole("dim"), required=True, help="coordinates a token")
    calibrate.add_argument("--clip", type=_real("clip"), required=True, help="largest magnitude of a coordinate")
    calibrate.add_argument("--epsilon", type=_real("epsilon"), help="target: epsilon (nats) at --delta at most this")
    calibrate.add_argument(
        "--at-epsilon", type=_real("at-epsilon"), help="target: at this epsilon (nats), delta at most --delta"
    )
    calibrate.add_argument(
        "--total-variation",
        type=_real("total-variation"),
        help="target: no distinguisher has an advantage above this, in (0, 1)",
    )
    calibrate.add_argument(
        "--attack-success",
        type=_real("attack-success"),
        help="target: no guess at the secret, without its context, is right more often than this, in (kappa, 1)",
    )
    calibrate.add_argument(
        "--delta", type=_real("delta"), help="with --epsilon, in (0, 1) (default: 1e-5); with --at-epsilon, in [0, 1)"
    )
    calibrate.add_argument(
        "--kappa", type=_real("kappa"), help="with --attack-success: success of the best guess without the release"
    )
    calibrate.add_argument("--unit", default="token", help="token, phrase, prompt or session (default: token)")
    calibrate.add_argument("--tokens", type=_whole("tokens"), help="tokens in the unit; needed for all but a token")
    calibrate.add_argument("--json", action="store_true", help="print JSON with stable keys")
    calibrate.set_defaults(run=_calibrate)


def _add_curve(commands: "argparse._SubParsersAction[_Parser]") -> None:
    curve = commands.add_parser(
        "curve",
        help="draw trade-off and privacy curves of several quantizers",
        description="Draws the exact trade-off function and privacy curve of each SPEC, beside the Gaussian limit and "
        "the paper's Theorem 4.2. A .html file also shows the values under the pointer; it needs no network.",
        allow_abbrev=False,
    )
    curve.add_argument(
        "--spec",
        action="append",
        required=True,
        help="KEY=VALUE,... with bits, dim, clip and one of mu and scale; unit (default: token), tokens (needed for "
        "all but a token) and name besides; give it once a curve: "
        '--spec "bits=4,dim=18,clip=1,mu=2,unit=prompt,tokens=64,name=a prompt"',
    )
    curve.add_argument("--delta", type=_real("delta"), default=1e-5, help="where epsilon is marked (default: 1e-5)")
    curve.add_argument("--out", type=_path("--out", new=True), required=True, help="file to write: .html, .svg or .png")
    curve.set_defaults(run=_curve)


def _curve(arguments: argparse.Namespace) -> int:
    from del_audit.curve import draw_curves

    return draw_curves(arguments.spec, arguments.delta, arguments.out)


_QUANTIZER = ("bits", "dim", "clip", "scale", "mu", "unit", "tokens", "sends", "codes", "proved")
_TRAINING = ("noise_multiplier", "sample_rate", "steps")


def _account(arguments: argparse.Namespace) -> int:
    if arguments.session is not None:
        _check_options(arguments, "with --session", (*_QUANTIZER, "dp_sgd", *_TRAINING), ())
        from del_audit.session_file import account_session

        return account_session(arguments.session, arguments.delta, arguments.json)
    if arguments.dp_sgd:
        _check_options(arguments, "with --dp-sgd", _QUANTIZER, _TRAINING)
        return _account_training(arguments)
    _check_options(arguments, "without --dp-sgd", _TRAINING, ("bits", "dim", "clip"))
    return _account_quantizer(arguments)


def _check_options(arguments: argparse.Namespace, where: str, barred: Sequence[str], needed: Sequence[str]) -> None:
    """Raises UserError for options that do not go together, and for those that are missing."""
    values = vars(arguments)
    if extra := [name for name in barred if values[name] is not None and values[name] is not False]:
        raise UserError(f"Expected no {' or '.join(map(_option, extra))} {where}. See del-audit account --help.")
    if missing := [name for name in needed if values[name] is None]:
        names = ", ".join(map(_option, missing))
        raise UserError(f"the following arguments are required: {names}. See del-audit account --help.")


def _check_tokens(unit: str, tokens: int | None) -> None:
    """Raises UserError where a unit of several tokens comes without their number: one token's figure is not its."""
    if tokens is None and unit in ("phrase", "prompt", "session"):
        raise UserError(
            f"Expected --tokens, a whole number >= 1, with --unit {unit}, got none: add --tokens 16 for a {unit} of 16 "
            "tokens."
        )


def _account_training(arguments: argparse.Namespace) -> int:
    from del_audit.accounting.dp_sgd import render, training_guarantee

    found = training_guarantee(arguments.noise_multiplier, arguments.sample_rate, arguments.steps, arguments.delta)
    print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if arguments.json else render(found))
    return 0


def _account_quantizer(arguments: argparse.Namespace) -> int:
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
    unit: Any = "token" if arguments.unit is None else arguments.unit
    sends = 1 if arguments.sends is None else arguments.sends
    _check_tokens(unit, arguments.tokens)
    if arguments.codes is not None:
        _check_options(arguments, "with --codes", ("proved",), ())
        from del_audit.codes_file import account_codes

        return account_codes(arguments.codes, spec, unit, arguments.tokens, sends, arguments.delta, arguments.json)
    result = guarantee(spec, unit, arguments.tokens, arguments.delta, arguments.proved, sends)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        from del_audit.accounting.table import render

        print(render(result))
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    from del_audit.accounting.calibration import calibrate, render, smallest_bits

    target, bits, loss = _target(arguments), arguments.bits, arguments.loss
    if (bits is None) == (arguments.bytes_a_token is None):
        got = "neither" if bits is None else "both"
        raise UserError(f"Expected exactly one of --bits (1 to 8) and --bytes-a-token, got {got}.")
    if bits is not None and loss is not None:
        raise UserError(f"Expected --loss with --bytes-a-token only, got --bits and loss={loss}.")
    found = (
        smallest_bits(arguments.dim, arguments.clip, target, arguments.bytes_a_token, 0.05 if loss is None else loss)
        if bits is None
        else calibrate(bits, arguments.dim, arguments.clip, target)
    )
    print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if arguments.json else render(found))
    return 0


def _target(arguments: argparse.Namespace) -> "Target":
    from del_audit.accounting.calibration import Target

    kinds = ("epsilon", "at_epsilon", "total_variation", "attack_success")
    asked = [kind for kind in kinds if getattr(arguments, kind) is not None]
    if len(asked) != 1:
        got = " and ".join(map(_option, asked)) or "none"
        raise UserError(f"Expected exactly one of {', '.join(map(_option, kinds))}, got {got}.")
    kind, delta, kappa = asked[0], arguments.delta, arguments.kappa
    if (kappa is None) == (kind == "attack_success"):
        got = "no --kappa" if kappa is None else f"kappa={kappa}"
        raise UserError(f"Expected --kappa (in (0, 1)) with --attack-success and only there, got {got}.")
    if delta is None and kind == "at_epsilon":
        raise UserError("Expected --delta (in [0, 1)) with --at-epsilon, got none.")
    if delta is not None and kind in ("total_variation", "attack_success"):
        raise UserError(f"Expected --delta with --epsilon or --at-epsilon only, got {_option(kind)} and delta={delta}.")

    _check_tokens(arguments.unit, arguments.tokens)
    value, unit = getattr(arguments, kind), (arguments.unit, arguments.tokens)
    match kind:
        case "epsilon":
            return Target.epsilon(value, 1e-5 if delta is None else delta, *unit)
        case "at_epsilon":
            return Target.delta(delta, value, *unit)
        case "total_variation":
            return Target.total_variation(value, *unit)
        case _:
            return Target.attack_success(value, kappa, *unit)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _version() -> str:
    try:
        return version("del-audit")
    except PackageNotFoundError:
        return "0+unknown"
