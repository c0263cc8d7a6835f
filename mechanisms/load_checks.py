"""What a model folder is held against when it is loaded, before any work: its configuration, weights and tokens."""

import json

from mechanisms.abilities import abilities
from mechanisms.assets import Asset
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.model_facts import opening_token, words_of
from mechanisms.placement import all_finite


def require_causal_config(asset: Asset) -> None:
    """Raises UserError unless config.json describes a causal language model that transformers itself knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = asset.record.name
    try:
        config = json.loads((asset.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot load {name!r}: expected config.json to hold JSON: {error}.") from None
    if not isinstance(config, dict):
        raise UserError(f"Cannot load {name!r}: expected config.json to hold an object, got {type(config).__name__}.")
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"Cannot load {name!r}: expected config.json to name its model_type, got {kind!r}.")
    if kind not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"Cannot load {name!r}: expected a model_type that the installed transformers knows, got {kind!r}: remote "
            "code is never run. Check the spelling, or install a transformers that has it."
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"Cannot load {name!r}: expected a causal language model, got model_type {kind!r}, which transformers has "
            "none of. Choose a model that continues text."
        )
    if config.get("is_encoder_decoder") is True:
        raise UserError(
            f"Cannot load {name!r}: expected a causal language model, got an encoder-decoder (model_type {kind!r}). "
            "Choose a model that continues text."
        )


def require_finite(name: str, model: PreTrainedModel) -> None:
    """Raises UserError for weights that are NaN or infinite."""
    for part, weights in model.named_parameters():
        if not all_finite(weights):
            raise UserError(
                f"Expected finite weights in {name!r}, got NaN or infinite ones in {part!r}: the files are damaged. "
                "Fetch them again."
            )


def require_tokens_within(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError for a tokenizer with tokens that have no row in the model's embedding table."""
    words = words_of(model)
    beyond = sorted((token, text) for text, token in tokenizer.get_vocab().items() if token >= words)
    if beyond:
        token, text = beyond[0]
        raise UserError(
            f"Expected the tokenizer of {name!r} to have tokens below {words}, the rows of the model's embedding "
            f"table, got {len(beyond)} beyond it, the first {text!r} with number {token}. Use the model's own "
            "tokenizer, or enlarge the model's table (resize_token_embeddings) and save it."
        )


def require_usable(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError for tokens without an embedding or a logit, and for no opening token.

    Raises it as well for a model that cannot be run on embeddings, as `abilities` does.
    """
    words = words_of(model)
    require_tokens_within(name, model, tokenizer)
    opening = opening_token(model)
    if opening is None:
        raise UserError(
            f"Expected {name!r} to have a token that opens or ends a text, got neither bos_token_id nor eos_token_id: "
            "without one there is nothing to read before a text. Set one of them in config.json."
        )
    if not 0 <= opening < words:
        raise UserError(
            f"Expected the token that opens a text to be in 0..{words - 1}, the embeddings of {name!r}, got {opening}. "
            "Set bos_token_id in config.json."
        )
    try:
        able = abilities(model)
    except UserError as error:
        raise UserError(f"Cannot use {name!r}. {error}") from error
    if able.words < words:
        raise UserError(
            f"Expected {name!r} to have a logit for each of its {words} embeddings, got {able.words}: some tokens "
            "could be read but not predicted. Choose another model."
        )
