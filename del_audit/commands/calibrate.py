"""`del-audit calibrate`: the smallest scale that is proved to meet a target."""

import argparse
import json
from typing import TYPE_CHECKING

from del_audit.commands.values import Commands, add_json, add_unit, option, real, require_tokens, whole
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from del_audit.accounting.calibration import Target


def add_parser(commands: Commands) -> None:
    """Adds `calibrate` to the commands."""
    calibrate = commands.add_parser(
        "calibrate",
        help="the smallest scale that is proved to meet a target",
        description="Finds the smallest scale whose proved guarantee meets exactly one target: --epsilon (at --delta), "
        "--delta (at --at-epsilon), --total-variation, or --attack-success (at --kappa).",
        allow_abbrev=False,
    )
    calibrate.add_argument("--bits", type=whole("bits"), help="bits a coordinate, 1 to 8 (or give --bytes-a-token)")
    calibrate.add_argument(
        "--bytes-a-token", type=whole("bytes-a-token"), help="choose the fewest bits worth sending within these bytes"
    )
    calibrate.add_argument(
        "--loss", type=real("loss"), help="noise variance that --bytes-a-token may give up, relative (default: 0.05)"
    )
    calibrate.add_argument("--dim", type=whole("dim"), required=True, help="coordinates a token")
    calibrate.add_argument("--clip", type=real("clip"), required=True, help="largest magnitude of a coordinate")
    calibrate.add_argument("--epsilon", type=real("epsilon"), help="target: epsilon (nats) at --delta at most this")
    calibrate.add_argument(
        "--at-epsilon", type=real("at-epsilon"), help="target: at this epsilon (nats), delta at most --delta"
    )
    calibrate.add_argument(
        "--total-variation",
        type=real("total-variation"),
        help="target: no distinguisher has an advantage above this, in (0, 1)",
    )
    calibrate.add_argument(
        "--attack-success",
        type=real("attack-success"),
        help="target: no guess at the secret, without its context, is right more often than this, in (kappa, 1)",
    )
    calibrate.add_argument(
        "--delta", type=real("delta"), help="with --epsilon, in (0, 1) (default: 1e-5); with --at-epsilon, in [0, 1)"
    )
    calibrate.add_argument(
        "--kappa", type=real("kappa"), help="with --attack-success: success of the best guess without the release"
    )
    add_unit(calibrate, "token")
    add_json(calibrate)
    calibrate.set_defaults(run=_calibrate)


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
        got = " and ".join(map(option, asked)) or "none"
        raise UserError(f"Expected exactly one of {', '.join(map(option, kinds))}, got {got}.")
    kind, delta, kappa = asked[0], arguments.delta, arguments.kappa
    if (kappa is None) == (kind == "attack_success"):
        got = "no --kappa" if kappa is None else f"kappa={kappa}"
        raise UserError(f"Expected --kappa (in (0, 1)) with --attack-success and only there, got {got}.")
    if delta is None and kind == "at_epsilon":
        raise UserError("Expected --delta (in [0, 1)) with --at-epsilon, got none.")
    if delta is not None and kind in ("total_variation", "attack_success"):
        raise UserError(f"Expected --delta with --epsilon or --at-epsilon only, got {option(kind)} and delta={delta}.")

    require_tokens(arguments.unit, arguments.tokens)
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
