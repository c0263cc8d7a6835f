"""Language models and sentence encoders, named by one string and loaded from safetensors, never with remote code."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from mechanisms.assets import Asset, AssetRecord
from mechanisms.errors import UserError, first_line
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.load_checks import require_causal_config, require_finite, require_tokens_within, require_usable
from mechanisms.model_facts import context_of, width_of
from mechanisms.model_sources import model_asset
from mechanisms.own_forward import embedding_table
from mechanisms.validation import at_least

if TYPE_CHECKING:
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

EMBEDDING_KEYS = ("model.embed_tokens.weight", "transformer.wte.weight", "wte.weight", "gpt_neox.embed_in.weight")
Loaded = TypeVar("Loaded")
PLAIN_EMBEDDINGS = frozenset({"gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Model types whose input embedding is a row of the table as stored, without a factor."""

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


def load_causal_lm(name: str, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """Returns the causal language model in eval mode, without gradients.

    device: "cpu", "cuda" or another of torch's. dtype: of weights and states, one of NUMBER_FORMATS. Raises UserError
    for a device that is not there, another dtype, a name that cannot be resolved, pickled or incomplete weights,
    remote code, another architecture, and a model that cannot be used on embeddings (see load_checks).
    """
    from transformers import AutoModelForCausalLM

    if dtype not in NUMBER_FORMATS:
        raise UserError(f"Expected dtype to be one of {', '.join(NUMBER_FORMATS)}, got dtype={dtype!r}.")
    _require_device(device)
    asset = model_asset(name)
    require_causal_config(asset)
    tokenizer = read_tokenizer(asset)
    model = load_weights(AutoModelForCausalLM, asset, allowed_missing=())
    require_usable(name, model, tokenizer)
    model = model.to(device=device, dtype=NUMBER_FORMATS[dtype])
    return LanguageModel(model, tokenizer, asset.record)


def load_sentence_encoder(name: str) -> SentenceEncoder:
    """Returns the sentence encoder: float32, eval mode, no gradients, on the CPU.

    Raises UserError as load_causal_lm does, and for a folder whose own description asks for more than a mean.
    """
    from transformers import AutoModel

    asset = model_asset(name)
    _require_mean_pooling(asset)
    model = load_weights(AutoModel, asset, allowed_missing=("pooler.",))
    tokenizer = read_tokenizer(asset)
    require_tokens_within(name, model, tokenizer)
    stated = _read_json(asset, "sentence_bert_config.json").get("max_seq_length")
    limits = [stated, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    return SentenceEncoder(model, tokenizer, asset.record, min(int(limit) for limit in limits if limit))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer alone, without reading the weights into memory."""
    return read_tokenizer(model_asset(name))


def load_embedding_table(name: str) -> NDArray[np.float32]:
    """Returns the input embeddings, float32, shape (vocabulary, hidden), as the model would look them up.

    Reads one tensor where the architecture is known to use it as stored; otherwise asks the loaded model.
    """
    asset = model_asset(name)
    config = _read_json(asset, "config.json")
    if config.get("model_type") in PLAIN_EMBEDDINGS:
        for key in EMBEDDING_KEYS:
            if (path := _file_of_tensor(asset, key)) is not None:
                return _read_tensor(path, key)
    return embedding_table(load_causal_lm(name).model)


def _require_device(device: str) -> None:
    """Raises UserError for a device that torch cannot use here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise UserError(f"Expected device to be one that torch can use here, got device={device!r}: {reason}") from None


def load_weights(
    auto_class: "type[_BaseAutoModelClass]", asset: Asset, allowed_missing: tuple[str, ...]
) -> PreTrainedModel:
    """Returns the model, and refuses weights that were made up because the files lack them, or that are not finite."""
    model, info = _guarded(
        asset,
        lambda: auto_class.from_pretrained(
            asset.folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
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


def _file_of_tensor(asset: Asset, key: str) -> Path | None:
    """Returns the safetensors file that holds the tensor, following a shard index, or None."""
    shard = _read_json(asset, "model.safetensors.index.json").get("weight_map", {}).get(key, "model.safetensors")
    path = asset.folder / shard
    if path.parent != asset.folder or not path.is_file():
        return None

    def holds() -> bool:
        with safe_open(path, framework="pt") as tensors:
            return key in tensors.keys()  # noqa: SIM118  # not a dict

    return path if _guarded(asset, holds) else None


def _read_tensor(path: Path, key: str) -> NDArray[np.float32]:
    with safe_open(path, framework="pt") as tensors:
        table: NDArray[np.float32] = tensors.get_tensor(key).float().numpy()
    return table
