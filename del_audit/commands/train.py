"""`del-audit train`: a part of a configuration on its public text. What is not given stays at the library's value."""

import argparse
from typing import Any

from del_audit.commands.values import Commands, add_config, add_machine, add_new_folder, configured, real, reals, whole
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.process.alone import alone
from mechanisms.errors import UserError
from mechanisms.registry import decoders_that_train_codes

TRAINED_IN = "float32"
"""Number format of the frozen model behind what is trained, whatever the configuration serves it in."""
_LOOP = ("steps", "batch", "learning_rate", "warm_up", "window", "seed", "validate_every", "patience")
_PROMPT = ("virtual_tokens", "shortest_prompt", "shortest_response", "prompt_share", "init", "initial_text", "decay")
_QUANTIZE = {
    "kernel": "kernel",
    "quantized_share": "share",
    "selection_share": "selection_share",
    "selection_batch": "batch",
    "selection_every": "every",
    "selection_clip": "clip",
}
_CODES = (
    *("virtual_tokens", "shortest_prompt", "shortest_response", "initial_text", "decay"),
    *("decoder", "information", "squared_error", "common", "drawn"),
)
_PROJECTION = ("fill", "whitening", "noise", "validation_windows", "decay")


def add_parser(commands: Commands) -> None:
    """Adds `train` and its parts to the commands."""
    train = commands.add_parser("train", help="train a part of a configuration on its public text", allow_abbrev=False)
    parts = train.add_subparsers(title="parts", required=True, metavar="PART")
    _add_prompt(parts)
    _add_projection(parts)
    _add_codes(parts)
    _add_attacker(parts)


def _add_prompt(parts: Commands) -> None:
    prompt = parts.add_parser(
        "prompt",
        help="the soft prompt, with the mechanism's noise on",
        description="Writes a PEFT adapter with a JSON card; the private split is never read. A run that was cut off "
        "goes on where the same command finds its FOLDER.partial.",
        allow_abbrev=False,
    )
    _add_common(prompt, "150")
    prompt.add_argument("--virtual-tokens", type=whole("virtual-tokens"), help="vectors of the prompt (default: 20)")
    prompt.add_argument("--levels", type=reals("levels"), metavar="MU,MU,...", help="one prompt for a range of noise")
    prompt.add_argument(
        "--init",
        choices=("text", "random", "configured"),
        help="initial value: a text, random words, or the configuration's soft prompt (default: text)",
    )
    prompt.add_argument("--initial-text", help="the text it starts from")
    prompt.add_argument(
        "--prompt-share", type=reals("prompt-share"), metavar="LEAST,MOST", help="the paper's: 0.03,0.2 (default: any)"
    )
    prompt.add_argument("--shortest-prompt", type=whole("shortest-prompt"), help="tokens, at least (default: 16)")
    prompt.add_argument("--shortest-response", type=whole("shortest-response"), help="tokens, at least (default: 16)")
    _add_held_out(prompt)
    private = prompt.add_argument_group("private training text (DP-SGD); the configuration's text stays public")
    private.add_argument("--private-corpus", help="whose documents are protected: a corpus name or file")
    private.add_argument("--private-split", help="its split (default: all)")
    private.add_argument("--private-column", help="its column of text")
    private.add_argument("--private-epsilon", type=real("private-epsilon"), help="target, nats, for one document")
    private.add_argument("--private-delta", type=real("private-delta"), help="in [1e-10, 1) (default: 1e-5)")
    private.add_argument("--clip-norm", type=real("clip-norm"), help="of a document's gradient (default: 1)")
    private.add_argument("--method", choices=("dp-sgd",), help="how private text trains (default: dp-sgd)")
    _add_quantize(prompt.add_argument_group("low precision of the frozen model's layers, with --private-corpus"))
    prompt.set_defaults(run=alone(_train_prompt))


def _add_quantize(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--quantize",
        choices=("none", "static", "dynamic"),
        help="layers in low precision: none, always the same, or others each epoch (default: none)",
    )
    group.add_argument(
        "--kernel", help="auto, int8, bf16, fp8 (a GPU), simulated-int8 or simulated-int4 (default: auto)"
    )
    group.add_argument("--quantized-share", type=real("quantized-share"), help="of the layers (default: 0.75)")
    group.add_argument(
        "--selection-share",
        type=real("selection-share"),
        help="of epsilon, for the losses that choose layers; 0 draws them uniformly (default: 0.01)",
    )
    group.add_argument("--selection-batch", type=whole("selection-batch"), help="documents a release (default: 4)")
    group.add_argument("--selection-every", type=whole("selection-every"), help="epochs a release (default: 2)")
    group.add_argument(
        "--selection-clip", type=real("selection-clip"), help="of a document's losses, nats (default: 0.05)"
    )


def _add_projection(parts: Commands) -> None:
    projection = parts.add_parser(
        "projection",
        help="the paper's linear encoder and decoder, with the frozen model's loss",
        description="Writes both matrices with a JSON card; the private split is never read. A run that was cut off "
        "goes on where the same command finds its FOLDER.partial.",
        allow_abbrev=False,
    )
    _add_common(projection, "1000; the paper: 20000")
    projection.add_argument("--fill", type=real("fill"), help="codes' root mean square over the clip (default: 0.5)")
    projection.add_argument("--whitening", type=real("whitening"), help="of the start, in [0, 1] (default: 0)")
    projection.add_argument(
        "--noise", action=argparse.BooleanOptionalAction, help="train through the quantizer's noise (default: off)"
    )
    projection.add_argument(
        "--validation-windows", type=whole("validation-windows"), help="windows of held-out text (default: 16)"
    )
    projection.set_defaults(run=alone(_train_projection))


def _add_codes(parts: Commands) -> None:
    codes = parts.add_parser(
        "codes",
        help="the codes of all words, with a soft prompt, through the mechanism's noise and the posterior decoder",
        description="Writes encoder.safetensors and a PEFT adapter with a JSON card: name the file under "
        "encoder.codes and the folder under soft_prompt. The private split is never read. A run that was cut off goes "
        "on where the same command finds its FOLDER.partial.",
        allow_abbrev=False,
    )
    _add_common(codes, "200")
    codes.add_argument("--virtual-tokens", type=whole("virtual-tokens"), help="vectors of the prompt (default: 20)")
    codes.add_argument("--levels", type=reals("levels"), metavar="MU,MU,...", help="codes for a range of noise")
    codes.add_argument("--initial-text", help="the text that the soft prompt starts from")
    codes.add_argument("--shortest-prompt", type=whole("shortest-prompt"), help="tokens, at least (default: 32)")
    codes.add_argument("--shortest-response", type=whole("shortest-response"), help="tokens, at least (default: 32)")
    codes.add_argument("--information", type=real("information"), help="weight of the posterior's loss (default: 0.2)")
    codes.add_argument(
        "--decoder", choices=decoders_that_train_codes(), help="what the model reads (default: most-likely)"
    )
    codes.add_argument(
        "--squared-error", type=real("squared-error"), help="weight of the decoder's squared error (default: 0.5)"
    )
    codes.add_argument("--common", type=whole("common"), help="commonest words in each posterior (default: 8192)")
    codes.add_argument("--drawn", type=whole("drawn"), help="other words drawn for each posterior (default: 4096)")
    _add_held_out(codes)
    codes.set_defaults(run=alone(_train_codes))


def _add_attacker(parts: Commands) -> None:
    attacker = parts.add_parser(
        "attacker",
        help="the language model that attackers read with: low-rank adapters, for every mechanism over this text",
        description="Writes a PEFT adapter with a JSON card; the private split is never read. certify, attack and tune "
        "train one where they need it and keep it in the cache: this command makes those that are shipped. A run that "
        "was cut off goes on where the same command finds its FOLDER.partial.",
        allow_abbrev=False,
    )
    add_config(attacker)
    add_new_folder(attacker)
    add_machine(attacker)
    attacker.add_argument("--steps", type=whole("steps"), help="training steps, at most (default: 128)")
    attacker.set_defaults(run=alone(_train_attacker))


def _add_common(part: argparse.ArgumentParser, steps: str) -> None:
    add_config(part)
    add_new_folder(part)
    part.add_argument("--steps", type=whole("steps"), help=f"training steps (default: {steps})")
    part.add_argument("--batch", type=whole("batch"), help="documents or windows a step (default: 4)")
    part.add_argument("--window", type=whole("window"), help="tokens of each")
    part.add_argument("--lr", dest="learning_rate", type=real("lr"), help="AdamW's learning rate")
    part.add_argument("--warm-up", type=whole("warm-up"), help="steps of linear warm-up")
    part.add_argument("--decay", choices=("linear", "constant"), help="after the warm-up (default: linear)")
    part.add_argument("--validate-every", type=whole("validate-every"), help="steps between validations")
    part.add_argument("--patience", type=whole("patience"), help="validations without gain until the stop; 0: never")
    part.add_argument("--documents", type=whole("documents"), help="read the first so many public documents only")
    part.add_argument("--seed", type=whole("seed"), help="of all that is random in training (default: 0)")
    add_machine(part, dtype=TRAINED_IN)
    part.add_argument("--fresh", action="store_true", help="discard the checkpoint of a run that was cut off")


def _add_held_out(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--validation-documents",
        type=whole("validation-documents"),
        help="public documents held out (default: one in twenty, at most 32)",
    )


def _configured(arguments: argparse.Namespace) -> ConfigurationFile:
    return configured(arguments.config, arguments, dtype=TRAINED_IN)


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _train_prompt(arguments: argparse.Namespace) -> int:
    private = _given(
        arguments,
        ("private_corpus", "private_split", "private_column", "private_delta", "clip_norm", "method"),
    )
    low = {_QUANTIZE[name]: value for name, value in _given(arguments, tuple(_QUANTIZE)).items()}
    quantized = arguments.quantize not in (None, "none")
    if low and not quantized:
        raise UserError(
            "Expected --quantize static or dynamic with --kernel, --quantized-share and --selection options."
        )
    if arguments.quantize == "static" and set(low) - {"kernel", "share"}:
        raise UserError("Expected --quantize dynamic with --selection options, got static, which measures nothing.")
    if (arguments.private_epsilon is None) != (arguments.private_corpus is None) or (
        (private or quantized) and arguments.private_epsilon is None
    ):
        raise UserError(
            "Expected --private-epsilon and --private-corpus together, and other private options with them."
        )
    settings = _given(arguments, (*_LOOP, *_PROMPT))
    if "prompt_share" in settings and len(settings["prompt_share"]) != 2:
        raise UserError(f"Expected --prompt-share LEAST,MOST, got {len(settings['prompt_share'])} numbers.")
    from del_audit.training.parts import PrivateText, train_prompt
    from del_audit.training.quantize import Quantize

    text = None
    if arguments.private_epsilon is not None:
        text = PrivateText(
            arguments.private_corpus,
            arguments.private_split,
            arguments.private_column,
            arguments.private_epsilon,
            private.get("private_delta", 1e-5),
            private.get("clip_norm", 1.0),
            Quantize(arguments.quantize, **low) if quantized else None,
        )
    return train_prompt(
        _configured(arguments),
        arguments.out,
        settings,
        held_out=arguments.validation_documents,
        levels=arguments.levels or (),
        documents=arguments.documents,
        private=text,
        fresh=arguments.fresh,
    )


def _train_projection(arguments: argparse.Namespace) -> int:
    from del_audit.training.parts import train_linear_pair

    settings = _given(arguments, (*_LOOP, *_PROJECTION))
    return train_linear_pair(
        _configured(arguments), arguments.out, settings, documents=arguments.documents, fresh=arguments.fresh
    )


def _train_codes(arguments: argparse.Namespace) -> int:
    from del_audit.training.parts import train_codes

    return train_codes(
        _configured(arguments),
        arguments.out,
        _given(arguments, (*_LOOP, *_CODES)),
        held_out=arguments.validation_documents,
        levels=arguments.levels or (),
        documents=arguments.documents,
        fresh=arguments.fresh,
    )


def _train_attacker(arguments: argparse.Namespace) -> int:
    from del_audit.training.attacker import train_attacker

    return train_attacker(configured(arguments.config, arguments), arguments.out, _given(arguments, ("steps",)))
