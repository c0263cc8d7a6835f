"""The options of `del-audit plan` and `del-audit tune`. Nothing heavy is imported for them."""

import argparse
from collections.abc import Callable
from typing import Any

from del_audit.alone import alone
from del_audit.options import path, real, whole


def add_tune(commands: Any) -> None:
    """Adds `plan` and `tune` to the commands."""
    _add_plan(commands)
    _add_search(commands)


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="how much must be attacked to certify a limit",
        description="Finds the fewest documents whose interval certifies a limit on the share of tokens read, for a "
        "true share that you expect: for each interval that certificates use. Exit codes: 0 planned, 2 user error.",
        allow_abbrev=False,
    )
    plan.add_argument("--attack-success", type=real("attack-success"), help="the limit, in (0, 1)")
    plan.add_argument("--expected", type=real("expected"), help="true share of tokens read, in [0, 1), below the limit")
    plan.add_argument("--confidence", type=real("confidence"), default=0.95, help="of the interval (default: 0.95)")
    plan.add_argument("--power", type=real("power"), default=0.9, help="probability to certify (default: 0.9)")
    plan.add_argument("--tokens-a-document", type=whole("tokens-a-document"), help="attacked of each (default: 40)")
    plan.add_argument(
        "--intracluster",
        type=real("intracluster"),
        help="correlation of two tokens of a document: 0 independent, 1 read whole or not at all (default: 0.05)",
    )
    plan.add_argument(
        "--from",
        dest="source",
        type=path("--from"),
        metavar="CERTIFICATE",
        help="take limit, share, tokens and correlation from a certificate's strongest attack; options above win",
    )
    plan.add_argument("--documents", type=whole("documents"), help="also say what so many documents can certify")
    plan.add_argument("--seed", type=whole("seed"), default=0, help="of the simulation (default: 0)")
    plan.add_argument("--json", action="store_true", help="print JSON with stable keys")
    plan.set_defaults(run=_plan)


def _add_search(commands: Any) -> None:
    tune = commands.add_parser(
        "tune",
        help="the configuration of best utility that meets a policy",
        description="Calibrates by proof, measures what is left on one part of the private split, and reports the "
        "chosen one on the other. Writes OUT/frontier.json and OUT/best.yaml, which `del-audit certify` takes. A run "
        "that was cut off goes on where the same command finds its OUT.partial. Exit codes: 0 found, 1 no candidate "
        "meets the policy or the held-out part refutes the chosen one, 3 out of time, 2 user error.",
        allow_abbrev=False,
    )
    tune.add_argument("config", type=path("config"), help="YAML file of a configuration and its policy")
    tune.add_argument(
        "--out", type=path("--out", new=True), required=True, help="folder for the results; must not exist yet"
    )
    tune.add_argument(
        "--space", type=path("--space"), metavar="FILE", help="YAML file of what is searched, instead of the next four"
    )
    tune.add_argument("--bits", type=_wholes("bits"), metavar="N,...", help="bits a coordinate (default: the file's)")
    tune.add_argument("--dim", type=_wholes("dim"), metavar="N,...", help="coordinates a token (default: the file's)")
    tune.add_argument("--decoders", type=_names, metavar="NAME,...", help="decoders (default: the file's)")
    tune.add_argument(
        "--soft-prompts",
        type=_prompts,
        metavar="NAME,...",
        help="soft prompts, none among them (default: the file's, none)",
    )
    tune.add_argument("--budget", type=whole("budget"), default=32, help="candidates at most (default: 32)")
    tune.add_argument("--minutes", type=real("minutes"), help="measure no further candidate after so long")
    tune.add_argument("--finalists", type=whole("finalists"), default=2, help="held against all attacks (default: 2)")
    tune.add_argument(
        "--power", type=real("power"), default=0.8, help="chance to be certified, the margin (default: 0.8)"
    )
    tune.add_argument(
        "--tuning-share", type=real("tuning-share"), default=0.5, help="of the private documents (default: 0.5)"
    )
    tune.add_argument(
        "--group",
        metavar="COLUMN",
        help="whose documents stay together (default: the configuration's group_column, else document_id)",
    )
    tune.add_argument("--seed", type=whole("seed"), help="of the split and the draws (default: the file's)")
    tune.set_defaults(run=alone(_tune))


def _wholes(name: str) -> Callable[[str], tuple[int, ...]]:
    """Returns a converter of text to whole numbers between commas."""
    one = whole(name)
    return lambda text: tuple(one(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _prompts(text: str) -> tuple[str | None, ...]:
    return tuple(None if name == "none" else name for name in text.split(","))


def _tune(arguments: argparse.Namespace) -> int:
    from del_audit.tune.command import tune

    return tune(
        arguments.config,
        arguments.out,
        space=arguments.space,
        dimensions={name: getattr(arguments, name) for name in ("bits", "dim", "decoders", "soft_prompts")},
        budget=arguments.budget,
        minutes=arguments.minutes,
        finalists=arguments.finalists,
        power=arguments.power,
        tuning_share=arguments.tuning_share,
        group=arguments.group,
        seed=arguments.seed,
    )


def _plan(arguments: argparse.Namespace) -> int:
    from del_audit.tune.plan import plan

    return plan(
        attack_success=arguments.attack_success,
        expected=arguments.expected,
        confidence=arguments.confidence,
        power=arguments.power,
        tokens_a_document=arguments.tokens_a_document,
        intracluster=arguments.intracluster,
        source=arguments.source,
        documents=arguments.documents,
        seed=arguments.seed,
        as_json=arguments.json,
    )
