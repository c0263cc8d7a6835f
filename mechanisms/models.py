"""Language models and sentence encoders, named by one string and loaded from safetensors, never with remote code."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mechanisms.abilities import abilities
from mechanisms.assets import Asset, AssetRecord
from mechanisms.embedding_file import empty_model, names_a_factor, stored_table
from mechanisms.errors import UserError, first_line
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.load_checks import require_causal_config, require_finite, require_tokens_within, require_usable
from mechanisms.model_facts import context_of, input_weight, width_of, words_of
from mechanisms.model_sources import model_asset, number_format
from mechanisms.own_forward import embedding_table
from mechanisms.placement import ON_CPU, Placement, missing_package, require_memory, require_on_device, usable_device
from mechanisms.validation import at_least
from mechanisms.wide_products import widen

if TYPE_CHECKING:
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

Loaded = TypeVar("Loaded")
NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What a causal language model can be held in."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A frozen causal language model in eval mode, its tokenizer, and its record."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: AssetRecord

    @property
    def context_tokens(self) -> int:
        """The longest input that the model was made for, in tokens, as `context_of` finds it."""
        return context_of(self.model, self.tokenizer)

    @property
    def device(self) -> str:
        """Where the input embeddings are, and the channel's scores are computed: `cpu`, `cuda:0`."""
        return str(input_weight(self.model).device)

    @property
    def width(self) -> int:
        """The width of the embeddings that the model reads."""
        return width_of(self.model)


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """A frozen transformer whose masked mean of token states is the embedding of a text.

    max_tokens: texts are cut after this many tokens.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    record: AssetRecord
    max_tokens: int

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """Returns unit vectors, float32, shape (texts, dim), in the order of texts.

        Raises UserError for a batch_size below 1 and for a text that is not a string.
        """
        at_least("batch_size", batch_size, 1)
        wrong = [texts] if isinstance(texts, str) else [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise UserError(f"Expected texts to be a list of strings, got {wrong[0]!r}.")
        vectors = np.zeros((len(texts), width_of(self.model)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # alike lengths: little padding
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            vectors[chosen] = self._embed_batch([texts[index] for index in chosen])
        return vectors

    @torch.no_grad()
    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.model.device)
        states = self.model(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return unit


def load_causal_lm(
    name: str,
    device: str = "cpu",
    dtype: str = "float32",
    device_map: "str | Mapping[str, int | str] | None" = None,
    max_memory: "Mapping[int | str, int | str] | None" = None,
) -> LanguageModel:
    """Returns the causal language model in eval mode, without gradients; its weights are read once, as asked for.

    device: "auto", "cpu", "cuda" or another of torch's. dtype: of weights and states, one of NUMBER_FORMATS, or "auto"
    for the one that config.json names; a model that is stored quantized stays as it is stored. device_map, max_memory:
    of accelerate, for a model that is larger than one device; they stand in for device.
    Raises UserError for a device that is not there, too little memory, another dtype, a name that cannot be resolved,
    pickled or incomplete weights, remote code, another architecture, a package that quantized weights lack, and a model
    that cannot be used on embeddings (see load_checks).
    """
    from transformers import AutoModelForCausalLM

    if dtype not in (*NUMBER_FORMATS, "auto"):
        raise UserError(f"Expected dtype to be one of auto, {', '.join(NUMBER_FORMATS)}, got dtype={dtype!r}.")
    place = Placement(usable_device(device), device_map, max_memory)
    asset = model_asset(name)
    require_causal_config(asset)
    tokenizer = read_tokenizer(asset)
    held_in = NUMBER_FORMATS[number_format(asset.folder) if dtype == "auto" else dtype]
    model = load_weights(AutoModelForCausalLM, asset, allowed_missing=(), dtype=held_in, place=place)
    if device_map is not None:
        require_on_device(name, model)
    require_usable(name, model, tokenizer)
    return LanguageModel(model, tokenizer, asset.record)


def load_sentence_encoder(name: str, device: str = "cpu") -> SentenceEncoder:
    """Returns the sentence encoder: float32, eval mode, no gradients. device: as load_causal_lm takes it.

    Raises UserError as load_causal_lm does, and for a folder whose own description asks for more than a mean.
    """
    from transformers import AutoModel

    place = Placement(usable_device(device))
    asset = model_asset(name)
    _require_mean_pooling(asset)
    model = load_weights(AutoModel, asset, allowed_missing=("pooler.",), place=place)
    tokenizer = read_tokenizer(asset)
    require_tokens_within(name, model, tokenizer)
    stated = _read_json(asset, "sentence_bert_config.json").get("max_seq_length")
    limits = [stated, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    return SentenceEncoder(model, tokenizer, asset.record, min(int(limit) for limit in limits if limit))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer alone, without reading the weights into memory."""
    return read_tokenizer(model_asset(name))


def load_embedding_table(name: str, language: LanguageModel | None = None) -> NDArray[np.float32]:
    """Returns the input embeddings, float32, shape (vocabulary, hidden), as the model would look them up.

    Reads one tensor in the precision in which it is stored. language: the same model where it is loaded. It is asked
    for the table where no file holds it as it is; where language is left out, it is loaded for that alone.
    """
    asset = model_asset(name)
    if language is None:
        require_causal_config(asset)
        empty = _guarded(asset, lambda: empty_model(asset.folder))
        language = load_causal_lm(name) if names_a_factor(empty) else None
    table = _guarded(asset, lambda: stored_table(asset.folder, language.model if language else empty))
    if table is None:
        return embedding_table((language or load_causal_lm(name)).model)
    return table * np.float32(abilities(language.model).factor) if language else table


def words_in(name: str) -> int:
    """Returns the number of words that a model has an embedding of; no weight is read.

    Raises UserError for a name that cannot be resolved, and what is no causal language model.
    """
    asset = model_asset(name)
    require_causal_config(asset)
    return words_of(_guarded(asset, lambda: empty_model(asset.folder)))


def load_weights(
    auto_class: "type[_BaseAutoModelClass]",
    asset: Asset,
    allowed_missing: tuple[str, ...],
    dtype: torch.dtype = torch.float32,
    place: Placement = ON_CPU,
) -> PreTrainedModel:
    """Returns the model, its weights read once, in dtype and in their place; one that is stored quantized stays so.

    Raises UserError for too little memory, and for weights that were made up because the files lack them, or that are
    not finite.
    """
    quantized = "quantization_config" in _read_json(asset, "config.json")
    require_memory(asset, None if quantized else dtype, place)
    model, info = _guarded(
        asset,
        lambda: auto_class.from_pretrained(
            asset.folder,
            dtype="auto" if quantized else dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **place.arguments(),
        ),
    )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(allowed_missing))
    missing += sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise UserError(
            f"Expected the files of {asset.record.name!r} to hold every weight of a {type(model).__name__}, got "
            f"{len(missing)} missing or of another shape, the first {missing[0]!r}."
        )
    require_finite(asset.record.name, model)
    if place.device_map is None and not getattr(model, "is_quantized", False):  # unpacked where no kernel is for it
        model.to(dtype=dtype)  # what is no weight too, such as a table of rotary frequencies
    if place.device_map is None:
        widen(model)
    return model.eval().requires_grad_(False)


def read_tokenizer(asset: Asset) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a folder; raises UserError for a broken one, and never runs remote code."""
    from transformers import AutoTokenizer

    return _guarded(
        asset,
        lambda: AutoTokenizer.from_pretrained(asset.folder, trust_remote_code=False, local_files_only=True),
    )


def _guarded(asset: Asset, load: Callable[[], Loaded]) -> Loaded:
    """Returns load(); what a broken folder raises becomes a UserError that names it."""
    try:
        return load()
    except ImportError as error:
        raise UserError(f"Cannot load {asset.record.name!r}: {missing_package(error)}") from error
    except Exception as error:  # a broken folder makes the libraries raise anything
        reason = first_line(error)
        raise UserError(f"Cannot load {asset.record.name!r} from {asset.folder}: {reason}") from error


def _read_json(asset: Asset, file: str) -> dict[str, Any]:
    path = asset.folder / file
    content = _guarded(asset, lambda: json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _require_mean_pooling(asset: Asset) -> None:
    path = asset.folder / "modules.json"
    modules = _guarded(asset, lambda: json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []
    kinds = {str(module["type"]).rsplit(".", 1)[-1] for module in modules}
    pooling = _read_json(asset, "1_Pooling/config.json")
    modes = {key for key, value in pooling.items() if key.startswith("pooling_mode") and value is True}
    if not kinds <= {"Transformer", "Pooling", "Normalize"} or not modes <= {"pooling_mode_mean_tokens"}:
        found = ", ".join(sorted(kinds | modes))
        raise UserError(f"Expected {asset.record.name!r} to embed by a mean over tokens, got {found}.")
