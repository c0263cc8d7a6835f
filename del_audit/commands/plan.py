"""`del-audit plan`: how much must be attacked to certify a limit."""

import argparse

from del_audit.commands.values import Commands, add_json, path, real, whole


def add_parser(commands: Commands) -> None:
    """Adds `plan` to the commands."""
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
    add_json(plan)
    plan.set_defaults(run=_plan)


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
