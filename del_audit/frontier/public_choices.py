"""What each point has of its own, by public text of the lengths that are measured: its decoder and its soft prompt."""

from collections.abc import Sequence
from pathlib import Path

import torch

from del_audit.configuration.configuration import Configuration
from del_audit.service.assets import Assets
from del_audit.service.pipelines import AnyPipeline, public_file_sha256
from mechanisms.errors import UserError
from mechanisms.registry import DECODERS, DecoderName
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt
from mechanisms.training.documents import split_long_enough
from mechanisms.training.prompt import train_soft_prompt
from mechanisms.training.prompt_examples import PromptExamples
from mechanisms.training.prompt_settings import PromptTraining

MOST_HELD_OUT = 32
"""Public documents that validate, at most; one in ten of those that are long enough."""


def require_known(decoders: Sequence[str]) -> tuple[DecoderName, ...]:
    """Returns the decoders of the names; raises UserError for unknown ones and for one twice."""
    known = tuple(DECODERS)
    found = tuple(each for name in decoders for each in known if each == name)
    if len(found) < len(decoders) or len(set(found)) < len(found):
        raise UserError(f"Expected --decoders, each once, among {', '.join(known)}, got {', '.join(decoders)!r}.")
    return found


def require_public_text(base: Configuration, assets: Assets, decoders: Sequence[DecoderName], steps: int) -> None:
    """Raises UserError where public text cannot choose among the decoders, or train a soft prompt for the points."""
    reading = [each for each in decoders or [base.decoder] if DECODERS[each].language_model]
    if steps and reading:
        raise UserError(
            f"Expected a decoder that does not read the soft prompt for --train-steps {steps}, got "
            f"decoder={reading[0]}. Use decoder: posterior-mean, or --train-steps 0."
        )
    settings = settings_of(base, assets, steps or 1)
    enough, long_enough = settings.batch + settings.validation_documents, _long_enough(base, assets)
    if long_enough < enough:
        asked = f"--train-steps {steps}" if steps else "--decoders"
        raise UserError(
            f"Expected {enough} public documents of {settings.window} tokens or more, prompt and response, for "
            f"{asked}, got {long_enough}. Leave it out, or shorten policy.prompt_tokens."
        )


def settings_of(base: Configuration, assets: Assets, steps: int) -> PromptTraining:
    """Returns how a point's soft prompt is trained: from the configuration's, and never worse on held-out text."""
    cut, response, start = base.policy.prompt_tokens, base.evaluation.response_tokens, assets.soft_prompt
    given = {"init": "configured", "virtual_tokens": len(start.vectors)} if start else {}
    return PromptTraining(
        steps=steps,
        warm_up=max(1, steps // 10),
        window=cut + response,
        shortest_prompt=cut,
        shortest_response=response,
        validation_documents=min(MOST_HELD_OUT, max(1, _long_enough(base, assets) // 10)),
        validate_every=max(1, steps // 4),
        checkpoint_every=max(1, steps // 4),
        **given,  # type: ignore[arg-type]
    )


def trained_for(pipeline: AnyPipeline, base: Configuration, assets: Assets, steps: int, folder: Path) -> SoftPrompt:
    """Returns the soft prompt in the folder, which is trained for the pipeline where it does not exist yet.

    Raises UserError as train_soft_prompt does.
    """
    language = assets.language
    if not folder.exists():
        train_soft_prompt(
            language,
            pipeline,
            assets.public,
            settings_of(base, assets, steps),
            folder,
            {"data": assets.corpus.record.to_dict(), "codes_sha256": public_file_sha256(pipeline)},
            start=assets.soft_prompt,
        )
    return load_soft_prompt(str(folder), language.width, language.record)


def held_out_loss(pipeline: AnyPipeline, base: Configuration, assets: Assets) -> float:
    """Returns the mean loss of responses behind the configuration's soft prompt, nats a token.

    On the documents, cuts and noise that training validates on.
    """
    settings, soft, language = settings_of(base, assets, 1), assets.soft_prompt, assets.language
    _, held_out = split_long_enough(
        assets.public, settings.window, settings.batch, settings.validation_documents, settings.seed
    )
    virtual = torch.zeros(0, language.width) if soft is None else soft.vectors
    with torch.no_grad():
        return PromptExamples(language, [pipeline], settings).validation(virtual, held_out)()


def _long_enough(base: Configuration, assets: Assets) -> int:
    window = base.policy.prompt_tokens + base.evaluation.response_tokens
    return sum(len(document) >= window for document in assets.public)
