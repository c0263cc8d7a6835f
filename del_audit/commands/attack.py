"""`del-audit attack`: attacks on private prompts, and tests of the attacks themselves."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.registry import always_run, attack_names
from del_audit.commands.values import (
    WORKER_OPTIONS,
    Commands,
    add_config,
    add_delta,
    add_machine,
    add_new_folder,
    add_workers,
    configured,
    names,
    option,
    whole,
    wholes,
    workers_of,
)
from del_audit.process.alone import alone
from mechanisms.errors import UserError

_RESUME = (
    "Writes OUT/result.json, every figure with its interval, and OUT/outcomes, what was read of each token, as "
    "parquet. A run that was cut off goes on where the same command finds its OUT.partial."
)
_BROKEN = "Exit codes: 0 done, 1 an attack beats the guarantee (the implementation is broken), 2 user error."


def add_parser(commands: Commands) -> None:
    """Adds `attack` and its kinds to the commands."""
    attack = commands.add_parser(
        "attack",
        help="attack a configuration's private prompts, and test the attacks themselves",
        description="Runs attacks on a configuration's private split, which stands for users. Nothing is fitted on it.",
        allow_abbrev=False,
    )
    attack.add_argument(
        "--self-test",
        nargs="?",
        const="",
        metavar="CONFIG",
        help="does each attack read everything where there is no noise, and nothing where there is only noise? Without "
        "CONFIG: on the packaged model and reviews. Exit code 1 if one is unusable",
    )
    attack.add_argument("--test-attacks", type=names, metavar="NAME,...", help="with --self-test: only these")
    attack.add_argument("--test-masked-lm", metavar="NAME", help="with --self-test: as --masked-lm of inversion")
    add_machine(attack, prefix="test-", beside="with --self-test: ")
    attack.set_defaults(run=_attack)
    kinds = attack.add_subparsers(title="kinds", metavar="KIND", dest="kind")
    _add_inversion(kinds)
    _add_attribute(kinds)
    _add_repeated(kinds)
    _add_context(kinds)
    _add_lists(kinds)
    _add_distinguish(kinds)


def _add_inversion(kinds: Commands) -> None:
    inversion = _kind(kinds, "inversion", "which tokens are read back", _inversion, f"{_RESUME} {_BROKEN}")
    _add_ladder(inversion)
    inversion.add_argument(
        "--plant",
        action="store_true",
        help="put made-up names, numbers and addresses into the prompts, and see what is read of them",
    )
    inversion.add_argument(
        "--text-metrics",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ROUGE-L, BLEU and cosines of what was read (default: on)",
    )
    add_workers(inversion)


def _add_attribute(kinds: Commands) -> None:
    attribute = _kind(
        kinds,
        "attribute",
        "what whole prompts tell of their author",
        _attribute,
        "The probe is chosen by cross-validation on releases of public text and scored once on private prompts. Writes "
        "OUT/result.json.",
    )
    attribute.add_argument("--column", help="the attribute (default: the configuration's)")
    attribute.add_argument(
        "--classes", type=whole("classes"), help="the commonest so many (default: the configuration's)"
    )
    attribute.add_argument("--bins", type=whole("bins"), help="for a column of numbers: so many classes of equal size")
    attribute.add_argument(
        "--group",
        metavar="COLUMN",
        help="author of each row: public rows of private authors are left out, and one private row of each is attacked "
        "(default: the configuration's group_column, else document_id)",
    )
    attribute.add_argument("--prompts", type=whole("prompts"), help="private prompts, at most (default: all)")
    attribute.add_argument("--documents", type=whole("documents"), help="public documents, at most (default: all)")
    attribute.add_argument("--prompt-tokens", type=whole("prompt-tokens"), help="(default: evaluation.probe_tokens)")
    attribute.add_argument("--releases", type=whole("releases"), help="of a public document (default: probe_releases)")


def _add_repeated(kinds: Commands) -> None:
    repeated = _kind(
        kinds, "repeated", "what is read of tokens that are sent more than once", _repeated, f"{_RESUME} {_BROKEN}"
    )
    repeated.add_argument(
        "--times", type=wholes("times"), default=(1, 2, 4, 8), metavar="N,N,...", help="(default: 1,2,4,8)"
    )
    repeated.add_argument(
        "--turns", type=whole("turns"), help="also chats of so many turns that send earlier ones again"
    )
    add_delta(repeated)
    _add_ladder(repeated)


def _add_context(kinds: Commands) -> None:
    context = _kind(
        kinds,
        "context",
        "what is read of a token by who knows the other words of its prompt",
        _context,
        "The attacker knows the true words around each token it is asked for, with the release and without it. Writes "
        f"OUT/result.json; goes on where the same command finds its OUT.partial. {_BROKEN}",
    )
    context.add_argument(
        "--sides", choices=("left", "both"), help="where the words stand that are known (default: one after the other)"
    )
    context.add_argument(
        "--template",
        metavar="TEXT",
        help="put each prompt into the slot {} of a text whose words are known, such as 'Translate: {}'",
    )
    context.add_argument(
        "--each",
        type=whole("each"),
        help="tokens asked of each prompt, evenly spaced (default: all with --sides left, 8 with both)",
    )
    context.add_argument(
        "--plain-model",
        action="store_true",
        help="read with the language model as it comes (default: adapted to public text, as a certificate's attackers)",
    )
    context.add_argument("--prompts", type=whole("prompts"), help="(default: evaluation.context_prompts)")
    context.add_argument("--prompt-tokens", type=whole("prompt-tokens"), help="(default: policy.prompt_tokens)")


def _add_lists(kinds: Commands) -> None:
    lists = _kind(
        kinds,
        "lists",
        "which text was sent, asked by who holds a list of candidate texts",
        _lists,
        "Each private text is released once and picked out of a list by exact likelihood, from its first 8, 16, 32 and "
        "--prompt-tokens tokens. Writes OUT/result.json; goes on where the same command finds its OUT.partial. Exit "
        "codes: 0 done, 2 user error.",
    )
    lists.add_argument("--prompts", type=whole("prompts"), help="private texts, at most (default: 100, at least 20)")
    lists.add_argument(
        "--decoys",
        type=whole("decoys"),
        default=10_000,
        help="texts in a list of public windows, with the one that was sent, at most (default: 10000, at least 100)",
    )
    lists.add_argument("--prompt-tokens", type=whole("prompt-tokens"), help="(default: policy.prompt_tokens)")


def _add_distinguish(kinds: Commands) -> None:
    distinguish = _kind(
        kinds,
        "distinguish",
        "which of two prompts was sent, and was a phrase in it",
        _distinguish,
        "Always plays the worst two inputs there are, the vocabulary's worst pair of words and its median one. Writes "
        f"OUT/result.json; goes on where the same command finds its OUT.partial. {_BROKEN}",
    )
    distinguish.add_argument(
        "--pair", nargs=2, action="append", metavar="TEXT", default=[], help="two prompts of as many tokens; repeatable"
    )
    distinguish.add_argument(
        "--phrase", action="append", metavar="TEXT", default=[], help="is it in a prompt of public text? repeatable"
    )
    distinguish.add_argument("--trials", type=whole("trials"), default=1000, help="messages a side (default: 1000)")
    distinguish.add_argument(
        "--prompt-tokens", type=whole("prompt-tokens"), default=32, help="of a prompt with a --phrase (default: 32)"
    )
    add_delta(distinguish)


def _kind(
    kinds: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int], description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=text, description=description, allow_abbrev=False)
    add_config(parser)
    add_new_folder(parser)
    parser.add_argument(
        "--seed",
        type=whole("seed"),
        help="of releases, fits and intervals (default: a certificate's own)",
    )
    add_machine(parser)
    parser.set_defaults(run=alone(run))
    return parser


def _add_ladder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attacks",
        type=names,
        metavar="NAME,...",
        help=f"{', '.join(attack_names())}; {' and '.join(always_run())} are always among them (default: "
        "evaluation.attacks)",
    )
    parser.add_argument("--prompts", type=whole("prompts"), help="(default: evaluation.context_prompts)")
    parser.add_argument("--prompt-tokens", type=whole("prompt-tokens"), help="(default: policy.prompt_tokens)")
    parser.add_argument(
        "--masked-lm", metavar="NAME", help="of the attack `inference` (default: a causal one stands in)"
    )
    parser.add_argument(
        "--self-tests",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave out attacks that fail their self-test (default: on)",
    )


def _attack(arguments: argparse.Namespace) -> int:
    if arguments.self_test is None:
        raise UserError("Expected a kind of attack, or --self-test, got neither. See del-audit attack --help.")
    from del_audit.attack.self_test import run_self_tests

    config = configured(Path(arguments.self_test), arguments, "test_") if arguments.self_test else None
    if config is None and (arguments.test_device or arguments.test_dtype):
        raise UserError("Expected --test-device and --test-dtype with --self-test CONFIG, got no configuration.")
    return run_self_tests(config, arguments.test_attacks, arguments.test_masked_lm)


def _inversion(arguments: argparse.Namespace) -> int:
    from del_audit.attack.inversion import attack_inversion

    given = {name: value for name, value in _given(arguments).items() if name not in WORKER_OPTIONS}
    return attack_inversion(**given, workers=workers_of(arguments))


def _attribute(arguments: argparse.Namespace) -> int:
    from del_audit.attack.attribute import attack_attribute

    return attack_attribute(**_given(arguments))


def _repeated(arguments: argparse.Namespace) -> int:
    from del_audit.attack.repeated import attack_repeated

    return attack_repeated(**_given(arguments))


def _context(arguments: argparse.Namespace) -> int:
    from del_audit.attack.context import attack_context

    return attack_context(**_given(arguments))


def _lists(arguments: argparse.Namespace) -> int:
    from del_audit.attack.lists import attack_lists

    return attack_lists(**_given(arguments))


def _distinguish(arguments: argparse.Namespace) -> int:
    from del_audit.attack.distinguish import attack_distinguish

    return attack_distinguish(**_given(arguments))


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of a kind; raises UserError for those of --self-test beside it, and for a negative seed."""
    values = dict(vars(arguments))
    for name in ("self_test", "test_attacks", "test_masked_lm", "test_device", "test_dtype"):
        if values.pop(name) is not None:
            raise UserError(f"Expected no {option(name)} beside {arguments.kind}.")
    if values["seed"] is not None and values["seed"] < 0:
        raise UserError(f"Expected seed >= 0, got seed={values['seed']}.")
    values["config"] = configured(arguments.config, arguments)
    return {name: value for name, value in values.items() if name not in ("run", "kind", "device", "dtype")}
