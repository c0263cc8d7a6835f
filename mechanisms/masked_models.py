"""Masked language models, named and guarded as every other model: safetensors only, never remote code."""

from dataclasses import dataclass

from mechanisms.assets import AssetRecord
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.load_checks import require_tokens_within
from mechanisms.model_sources import model_asset
from mechanisms.models import load_weights, read_tokenizer
from mechanisms.placement import Placement, usable_device


@dataclass(frozen=True, slots=True)
class MaskedLanguageModel:
    """A frozen masked language model in eval mode, its tokenizer, and its record."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: AssetRecord

    @property
    def mask(self) -> int:
        """The token that stands for a missing one."""
        return int(self.tokenizer.mask_token_id)

    @property
    def context_tokens(self) -> int:
        """The longest input, in tokens, those that the tokenizer adds included."""
        limits = [self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", None)]
        return min(int(limit) for limit in limits if limit)


def load_masked_lm(name: str, device: str = "cpu") -> MaskedLanguageModel:
    """Returns the masked language model, float32. name, device: as mechanisms.models.load_causal_lm takes them.

    Raises UserError as that does, and for a model of another kind: a causal one, one without the layer that predicts
    words, an encoder-decoder, and one whose tokenizer has no mask.
    """
    from transformers import AutoModelForMaskedLM

    place = Placement(usable_device(device))
    asset = model_asset(name)
    tokenizer = read_tokenizer(asset)
    if tokenizer.mask_token_id is None:
        raise UserError(f"Expected {name!r} to be a masked language model, got a tokenizer without a mask token.")
    model = load_weights(AutoModelForMaskedLM, asset, allowed_missing=(), place=place)
    if getattr(model.config, "is_encoder_decoder", False):
        raise UserError(f"Expected {name!r} to be a masked language model, got an encoder-decoder.")
    require_tokens_within(name, model, tokenizer)
    return MaskedLanguageModel(model, tokenizer, asset.record)
