"""`del-audit reproduce`: a table of the DEL paper on any model and corpus."""

import argparse

from del_audit.commands.values import (
    WORKER_OPTIONS,
    Commands,
    add_machine,
    add_new_folder,
    add_workers,
    reals,
    whole,
    wholes,
    workers_of,
)
from del_audit.process.alone import alone
from mechanisms.errors import UserError

TABLE_NUMBERS = ("1", "3", "4", "6", "7", "8")
_SIZES = {
    "samples": "prompts, or test pairs (paper: 200, or all)",
    "tokens": "public tokens that the attack is measured on (paper: about 2000)",
    "new-tokens": "tokens written, and of the reference (paper: 200 for WikiText-2, 50 for PTB)",
    "documents": "public texts that are read (paper: 40000 of C4)",
    "pair-steps": "training steps of the linear pair (paper: 20000)",
    "steps": "training steps of the soft prompt (paper: 4000)",
    "batch": "documents or windows a step (paper: 4)",
    "window": "tokens of each (paper: 1024)",
    "virtual-tokens": "vectors of the soft prompt (paper: 100; tables 3 and 4: 20)",
    "train": "training pairs of tables 3 and 4 (paper: all)",
    "denoise": "training pairs that the denoiser is trained on (paper: all)",
    "epochs": "of the denoiser and of the task, at most",
}


def add_parser(commands: Commands) -> None:
    """Adds `reproduce` to the commands."""
    reproduce = commands.add_parser(
        "reproduce",
        help="a table of the DEL paper on any model and corpus, as it is there or at matched exact epsilon",
        description="Runs the paper's protocol: data, lengths, noise set so that the paper's attack succeeds as often "
        "as asked; or, which the paper lacks, at the same exact epsilon. A run that was cut off goes on where the same "
        "command finds its OUT.partial.",
        allow_abbrev=False,
    )
    reproduce.add_argument("table", choices=TABLE_NUMBERS, metavar="TABLE", help="1, 3, 4, 6, 7 or 8")
    reproduce.add_argument("--corpus", required=True, help="packaged corpus, file or hub data set")
    reproduce.add_argument("--public-split", default="train", help="of prior and training (default: train)")
    reproduce.add_argument("--private-split", default="test", help="of the prompts (default: test)")
    reproduce.add_argument("--text-column", help="(tables 3 and 4: default sentence1)")
    reproduce.add_argument("--pair-column", default="sentence2", help="tables 3 and 4 (default: sentence2)")
    reproduce.add_argument("--label-column", default="label", help="tables 3 and 4 (default: label)")
    reproduce.add_argument("--document-column", help="document that a text is from (default: WikiText's headings)")
    reproduce.add_argument(
        "--general-corpus", help="what the linear pair, and table 6's soft prompt, are trained on (paper: C4)"
    )
    reproduce.add_argument("--general-split", default="train", help="of it (default: train)")
    reproduce.add_argument("--general-column", help="text column of it")
    reproduce.add_argument("--lengths", choices=("wikitext2", "ptb"), default="wikitext2", help="words of a prompt")
    reproduce.add_argument("--model", default="package:smollm2-135m-instruct", help="(default: %(default)s)")
    reproduce.add_argument("--extractor", help="local model of InferDPT (default: the model)")
    reproduce.add_argument("--sentences", default="package:minilm-l6-v2", help="of coherence (default: %(default)s)")
    reproduce.add_argument("--match", choices=("asr", "mu", "epsilon"), help="(default: the table's own)")
    reproduce.add_argument("--targets", type=reals("targets"), metavar="X,X,...", help="shares, values of mu, or nats")
    reproduce.add_argument("--bits", type=wholes("bits"), metavar="N,N,...", help="bits a coordinate")
    reproduce.add_argument("--dim", type=wholes("dim"), metavar="N,N,...", help="coordinates a token")
    for name, text in _SIZES.items():
        reproduce.add_argument(f"--{name}", type=whole(name), help=text)
    reproduce.add_argument("--seed", type=whole("seed"), default=0, help="of everything that is random (default: 0)")
    reproduce.add_argument("--quick", action="store_true", help="small sizes, minutes on two cores: shows that it runs")
    add_machine(reproduce, dtype="float32")
    add_workers(reproduce)
    add_new_folder(reproduce)
    reproduce.set_defaults(run=alone(_reproduce))


def _reproduce(arguments: argparse.Namespace) -> int:
    if arguments.seed < 0:
        raise UserError(f"Expected seed >= 0, got seed={arguments.seed}.")
    from del_audit.reproduce.reproduce import reproduce

    values = vars(arguments)
    names = {name.replace("-", "_") for name in _SIZES}
    sizes = {name: values[name] for name in names if values[name] is not None}
    if "steps" in sizes:
        sizes["prompt_steps"] = sizes.pop("steps")
    apart = (*names, "run", "table", *WORKER_OPTIONS)
    request = {name: value for name, value in values.items() if name not in apart}
    return reproduce(int(arguments.table), sizes, workers=workers_of(arguments), **request)
