"""`del-audit frontier`: mechanisms at the same exact token epsilon, what attacks read and what is left to use."""

import argparse

from del_audit.commands.values import (
    Commands,
    add_config,
    add_machine,
    add_new_folder,
    add_workers,
    configured,
    names,
    real,
    reals,
    whole,
    workers_of,
)
from del_audit.process.alone import alone

EPSILONS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)
MECHANISMS = (
    "del,randomized-response,subset-selection,projective-geometry,coarse-words:64,coarse-words:128,coarse-words:256,"
    "coarse-words:1024:subset-selection"
)


def add_parser(commands: Commands) -> None:
    """Adds `frontier` to the commands."""
    frontier = commands.add_parser(
        "frontier",
        help="mechanisms at equal epsilon: what attacks recover, and what is left to use",
        description="Gives each mechanism the same exact epsilon of a token, measures what MAP recovers and how much a "
        "release tells, then attacks the best points in full and measures their utility. Writes OUT/frontier.json, "
        "frontier.parquet, frontier.html and frontier.svg. A run that was cut off goes on where the same command finds "
        "its OUT.partial. Exit codes: 0 done, 2 user error.",
        allow_abbrev=False,
    )
    add_config(frontier)
    add_new_folder(frontier, "folder for the results")
    frontier.add_argument(
        "--mechanisms",
        type=names,
        default=names(MECHANISMS),
        metavar="NAME,...",
        help="del, randomized-response, subset-selection, projective-geometry, coarse-words:SYMBOLS[:INNER] (default: "
        "all, coarse words of 64, 128 and 256 symbols, and of 1,024 with subset selection)",
    )
    frontier.add_argument(
        "--epsilons",
        type=reals("epsilons"),
        default=EPSILONS,
        metavar="NATS,...",
        help="epsilons of one token (default: 2, 4, 6, 8, 12, 16, 32, 64)",
    )
    frontier.add_argument(
        "--delta", type=real("delta"), help="of the proved epsilons (default: that of the policy's first limit)"
    )
    frontier.add_argument(
        "--points", type=whole("points"), default=12, help="points that are attacked in full, at most (default: 12)"
    )
    frontier.add_argument(
        "--full",
        type=names,
        default=(),
        metavar="POINT,...",
        help="points that are attacked in full whatever the first stage says, such as del@8 (default: none)",
    )
    add_machine(frontier)
    add_workers(frontier)
    frontier.add_argument(
        "--decoders",
        type=names,
        default=(),
        metavar="NAME,...",
        help="give each of these points the decoder of lowest loss on public text (default: the configuration's)",
    )
    frontier.add_argument(
        "--train-steps",
        type=whole("train-steps"),
        default=0,
        metavar="STEPS",
        help="train a soft prompt for each of these points, from the configuration's one (default: 0, none)",
    )
    frontier.add_argument("--quick", action="store_true", help="the first stage alone")
    frontier.set_defaults(run=alone(_frontier))


def _frontier(arguments: argparse.Namespace) -> int:
    from del_audit.frontier.frontier import frontier

    return frontier(
        configured(arguments.config, arguments),
        arguments.out,
        mechanisms=arguments.mechanisms,
        epsilons=arguments.epsilons,
        delta=arguments.delta,
        points=arguments.points,
        full=arguments.full,
        decoders=arguments.decoders,
        train_steps=arguments.train_steps,
        quick=arguments.quick,
        workers=workers_of(arguments),
    )
