"""A soft prompt of each point's own, trained on public text of the lengths that are measured."""

from pathlib import Path

from del_audit.configuration.configuration import Configuration
from del_audit.service.assets import Assets
from del_audit.service.pipelines import AnyPipeline, public_file_sha256
from mechanisms.errors import UserError
from mechanisms.registry import DECODERS
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt
from mechanisms.training.prompt import train_soft_prompt
from mechanisms.training.prompt_settings import PromptTraining

MOST_HELD_OUT = 32
"""Public documents that validate, at most; one in ten of those that are long enough."""


def require_trainable(base: Configuration, assets: Assets, steps: int) -> None:
    """Raises UserError where no soft prompt can be trained for the points of a configuration."""
    if DECODERS[base.decoder].language_model:
        raise UserError(
            f"Expected a decoder that does not read the soft prompt for --train-steps {steps}, got "
            f"decoder={base.decoder}. Use decoder: posterior-mean, or --train-steps 0."
        )
    settings = settings_of(base, assets, steps)
    enough, long_enough = settings.batch + settings.validation_documents, _long_enough(base, assets)
    if long_enough < enough:
        raise UserError(
            f"Expected {enough} public documents of {settings.window} tokens or more, prompt and response, for "
            f"--train-steps {steps}, got {long_enough}. Use --train-steps 0, or shorter prompts."
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


def _long_enough(base: Configuration, assets: Assets) -> int:
    window = base.policy.prompt_tokens + base.evaluation.response_tokens
    return sum(len(document) >= window for document in assets.public)
