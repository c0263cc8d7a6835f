"""`del-audit curve`: trade-off and privacy curves of several quantizers."""

import argparse

from del_audit.commands.values import Commands, add_delta, path


def add_parser(commands: Commands) -> None:
    """Adds `curve` to the commands."""
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
    add_delta(curve, "where epsilon is marked")
    curve.add_argument("--out", type=path("--out", new=True), required=True, help="file to write: .html, .svg or .png")
    curve.set_defaults(run=_curve)


def _curve(arguments: argparse.Namespace) -> int:
    from del_audit.curve.draw import draw_curves

    return draw_curves(arguments.spec, arguments.delta, arguments.out)
