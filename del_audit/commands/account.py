"""`del-audit account`: the exact guarantee of a quantizer, a session, a vocabulary or a training run."""

import argparse
import json
from collections.abc import Sequence

from del_audit.commands.values import (
    Commands,
    add_delta,
    add_json,
    add_quantizer,
    add_unit,
    option,
    path,
    real,
    require_tokens,
    whole,
)
from mechanisms.errors import UserError

_QUANTIZER = ("bits", "dim", "clip", "scale", "mu", "unit", "tokens", "sends", "codes", "proved")
_TRAINING = ("noise_multiplier", "sample_rate", "steps")


def add_parser(commands: Commands) -> None:
    """Adds `account` to the commands."""
    account = commands.add_parser(
        "account",
        help="the exact guarantee of a quantizer, for a unit",
        description="Prints the exact epsilon, total variation and pure epsilon of a stochastic n-bit quantizer, "
        "beside what the paper's Theorem 4.2 certifies. All epsilons are in nats.",
        allow_abbrev=False,
    )
    add_quantizer(account)
    add_unit(account, None)
    account.add_argument("--sends", type=whole("sends"), help="times each token is sent with fresh noise (default: 1)")
    account.add_argument(
        "--session", type=path("--session"), metavar="FILE", help="YAML file of a session, instead of all above"
    )
    account.add_argument("--dp-sgd", action="store_true", help="a training run's guarantee instead, by the next three")
    account.add_argument("--noise-multiplier", type=real("noise-multiplier"), help="noise over the clipping norm")
    account.add_argument("--sample-rate", type=real("sample-rate"), help="chance of an example to be in a batch")
    account.add_argument("--steps", type=whole("steps"), help="training steps")
    account.add_argument(
        "--codes", type=path("--codes"), metavar="FILE", help="a vocabulary's codes, .npy or .safetensors"
    )
    account.add_argument("--proved", action="store_true", help="enclose each figure of a quantizer by ball arithmetic")
    add_delta(account, "in (0, 1)")
    add_json(account)
    account.set_defaults(run=_account)


def _account(arguments: argparse.Namespace) -> int:
    if arguments.session is not None:
        _check_options(arguments, "with --session", (*_QUANTIZER, "dp_sgd", *_TRAINING), ())
        from del_audit.accounting.session_file import account_session

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
        raise UserError(f"Expected no {' or '.join(map(option, extra))} {where}. See del-audit account --help.")
    if missing := [name for name in needed if values[name] is None]:
        names = ", ".join(map(option, missing))
        raise UserError(f"the following arguments are required: {names}. See del-audit account --help.")


def _account_training(arguments: argparse.Namespace) -> int:
    from del_audit.accounting.dp_sgd import render, training_guarantee

    found = training_guarantee(arguments.noise_multiplier, arguments.sample_rate, arguments.steps, arguments.delta)
    print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if arguments.json else render(found))
    return 0


def _account_quantizer(arguments: argparse.Namespace) -> int:
    from del_audit.accounting import Unit, guarantee
    from mechanisms.spec import QuantizerSpec

    quantizer = {"bits": arguments.bits, "dim": arguments.dim, "clip": arguments.clip}
    if (arguments.scale is None) == (arguments.mu is None):
        got = "neither" if arguments.mu is None else f"scale={arguments.scale} and mu={arguments.mu}"
        raise UserError(f"Expected exactly one of --scale (above clip) and --mu (above 0), got {got}.")
    if arguments.mu is None:
        spec = QuantizerSpec(**quantizer, scale=arguments.scale)
    else:
        spec = QuantizerSpec.from_mu(**quantizer, mu=arguments.mu)
    unit: Unit = "token" if arguments.unit is None else arguments.unit
    sends = 1 if arguments.sends is None else arguments.sends
    require_tokens(unit, arguments.tokens)
    if arguments.codes is not None:
        _check_options(arguments, "with --codes", ("proved",), ())
        from del_audit.accounting.codes_file import account_codes

        return account_codes(arguments.codes, spec, unit, arguments.tokens, sends, arguments.delta, arguments.json)
    result = guarantee(spec, unit, arguments.tokens, arguments.delta, arguments.proved, sends)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        from del_audit.accounting.guarantee_text import render

        print(render(result))
    return 0
