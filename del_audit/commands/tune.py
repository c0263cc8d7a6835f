"""`del-audit tune`: the configuration of best utility that meets a policy."""

import argparse

from del_audit.commands.values import (
    Commands,
    add_config,
    add_machine,
    add_new_folder,
    add_workers,
    configured,
    names,
    path,
    real,
    reals,
    whole,
    wholes,
    workers_of,
)
from del_audit.process.alone import alone
from mechanisms.registry import decoder_names

DIMENSIONS = ("mechanisms", "epsilons", "bits", "dim", "decoders", "soft_prompts")


def add_parser(commands: Commands) -> None:
    """Adds `tune` to the commands."""
    tune = commands.add_parser(
        "tune",
        help="the configuration of best utility that meets a policy",
        description="Calibrates by proof, measures what is left on one part of the private split, and reports the "
        "chosen one on the other. Writes OUT/frontier.json and OUT/best.yaml, which `del-audit certify` takes. A run "
        "that was cut off goes on where the same command finds its OUT.partial. Exit codes: 0 found, 1 no candidate "
        "meets the policy or the held-out part refutes the chosen one, 3 out of time, 2 user error.",
        allow_abbrev=False,
    )
    add_config(tune, "a configuration and its policy")
    add_new_folder(tune, "folder for the results")
    tune.add_argument(
        "--space", type=path("--space"), metavar="FILE", help="YAML file of what is searched, instead of the next six"
    )
    tune.add_argument(
        "--mechanisms",
        type=names,
        metavar="NAME,...",
        help="del, randomized-response, subset-selection, projective-geometry, coarse-words:SYMBOLS[:INNER] (default: "
        "the file's)",
    )
    tune.add_argument(
        "--epsilons",
        type=reals("epsilons"),
        metavar="NATS,...",
        help="epsilons of one token for mechanisms over words (default: the largest that meets the limits is sought)",
    )
    tune.add_argument("--bits", type=wholes("bits"), metavar="N,...", help="bits a coordinate (default: the file's)")
    tune.add_argument("--dim", type=wholes("dim"), metavar="N,...", help="coordinates a token (default: the file's)")
    known = ", ".join(decoder_names())
    tune.add_argument("--decoders", type=names, metavar="NAME,...", help=f"decoders: {known} (default: the file's)")
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
    add_machine(tune)
    add_workers(tune)
    tune.set_defaults(run=alone(_tune))


def _prompts(text: str) -> tuple[str | None, ...]:
    return tuple(None if name == "none" else name for name in text.split(","))


def _tune(arguments: argparse.Namespace) -> int:
    from del_audit.tune.tune import tune

    return tune(
        configured(arguments.config, arguments),
        arguments.out,
        space=arguments.space,
        dimensions={name: getattr(arguments, name) for name in DIMENSIONS},
        budget=arguments.budget,
        minutes=arguments.minutes,
        finalists=arguments.finalists,
        power=arguments.power,
        tuning_share=arguments.tuning_share,
        group=arguments.group,
        seed=arguments.seed,
        workers=workers_of(arguments),
    )
