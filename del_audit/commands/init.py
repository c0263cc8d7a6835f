"""`del-audit init`: a configuration for a table of text."""

import argparse
import sys

from del_audit.commands.values import Commands, path, real

MECHANISMS = ("words", "del")


def add_parser(commands: Commands) -> None:
    """Adds `init` to the commands."""
    init = commands.add_parser(
        "init",
        help="write a configuration for your own table of text",
        description="Looks at a .csv, .tsv, .jsonl, .json or .parquet file, proposes what each column is for, and "
        "writes a commented configuration that runs. On a terminal it asks; Enter takes what it proposes. Exit codes: "
        "0 written, 2 usage error.",
        allow_abbrev=False,
    )
    init.add_argument("data", type=path("data"), help="the table, one document per row")
    init.add_argument("--out", type=path("--out"), help="the file to write (default: NAME.yaml, after the table)")
    init.add_argument("--text", metavar="COLUMN", help="the documents (default: the longest text)")
    init.add_argument("--split", metavar="COLUMN", help="which rows are public (train) and which private (test)")
    init.add_argument("--person", metavar="COLUMN", help="whose each row is: nobody is in both splits")
    init.add_argument("--attribute", metavar="COLUMN", help="what must not leak, such as a gender or a diagnosis")
    init.add_argument("--task", metavar="COLUMN", help="what the server is meant to tell, such as a rating")
    init.add_argument(
        "--public-share",
        type=real("public-share"),
        default=0.5,
        help="of the people, where no column says the split (default: 0.5)",
    )
    init.add_argument(
        "--model",
        default="package:smollm2-135m-instruct",
        help="the language model that you serve: a folder, or a hub name (default: a small one that stands in for it)",
    )
    init.add_argument(
        "--mechanism",
        choices=MECHANISMS,
        default=MECHANISMS[0],
        help="words: clusters of words by randomised response; del: DEL's quantizer (default: words)",
    )
    init.add_argument("--force", action="store_true", help="replace a file that is there")
    init.add_argument("--yes", action="store_true", help="ask nothing: take what is proposed. `none` names no column")
    init.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from del_audit.init.init import Choices, init

    asked = {role: getattr(arguments, role) for role in ("text", "split", "person", "attribute", "task")}
    ask = not arguments.yes and sys.stdin.isatty() and sys.stdout.isatty()
    choices = Choices(asked, arguments.model, arguments.mechanism, arguments.public_share, arguments.force, ask)
    return init(arguments.data, arguments.out, choices)
