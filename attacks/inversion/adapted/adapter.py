"""Low-rank adapters of a language model, as PEFT writes and reads them; and the folders that they are kept in."""

import copy
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError, first_line
from mechanisms.library_types import PreTrainedModel
from mechanisms.models import LanguageModel
from mechanisms.training.checkpoint import CARD

if TYPE_CHECKING:
    from peft import PeftModel

WEIGHTS_FILE = "adapter_model.safetensors"
SHIPPED = Path(__file__).parent / "weights"
"""Adapters that come with the project, a folder each; `make weights` makes them again."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One trained adapter. sha256: of its weights' file. card: what decided it. weights: that file, read once."""

    folder: Path
    sha256: str
    card: Mapping[str, Json] = field(compare=False, repr=False)
    weights: bytes = field(compare=False, repr=False)

    @classmethod
    def read(cls, folder: Path) -> "Adapter":
        """Returns the adapter of a folder; raises UserError where it is not what its card says."""
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf8"))
            weights = (folder / WEIGHTS_FILE).read_bytes()
            sha256 = hashlib.sha256(weights).hexdigest()
            if card["files"][WEIGHTS_FILE] != sha256:
                raise ValueError("its weights are not those that its card names")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"Expected {folder} to hold an adapter: {error}. Delete it; it is trained again.") from None
        return cls(folder, sha256, card, weights)

    def fits(self, identity: Mapping[str, Json]) -> bool:
        """Returns whether the adapter is the one of this identity: model, public text and settings."""
        return all(self.card.get(key) == value for key, value in identity.items())

    def applied(self, language: LanguageModel) -> LanguageModel:
        """Returns the language model with the adapter merged into a copy of its weights.

        Raises UserError for an adapter of another architecture, and for NaN or infinity.
        """
        wrapped = adapted_copy(language.model, int(str(self.card["rank"])), 0)
        self.load_into(wrapped)
        merged: PreTrainedModel = wrapped.merge_and_unload()
        return replace(language, model=merged.eval().requires_grad_(False))

    def load_into(self, wrapped: "PeftModel") -> None:
        """Copies the weights into adapters; raises UserError as `applied` does."""
        parameters = parameters_of(wrapped)
        try:
            tensors = load(self.weights)
            if tensors.keys() != parameters.keys():
                raise ValueError(f"{len(tensors.keys() ^ parameters.keys())} of its tensors are not this model's")
            for name, parameter in parameters.items():
                values = tensors[name].to(parameter)
                if values.shape != parameter.shape or not bool(torch.isfinite(values).all()):
                    raise ValueError(f"{name} has another shape, or NaN or infinity")
                parameter.data.copy_(values)
        except (SafetensorError, ValueError) as error:
            raise UserError(f"Expected {self.folder} to hold an adapter of this model: {error}.") from None


def adapted_copy(model: PreTrainedModel, rank: int, seed: int) -> "PeftModel":
    """Returns a copy of the model with fresh adapters at every linear layer but the output; they change nothing yet.

    Raises UserError for an architecture that PEFT cannot adapt.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(copy.deepcopy(model), config)
        except (ValueError, NotImplementedError) as error:
            raise UserError(
                f"Expected a model whose linear layers PEFT can adapt, got {type(model).__name__}: {first_line(error)} "
                "Name evaluation.attacks with beam in the place of adapted-beam; the verdict is then inconclusive."
            ) from None
    return wrapped.eval()


def parameters_of(wrapped: "PeftModel") -> dict[str, Tensor]:
    """Returns the adapters' parameters under the names that PEFT stores them by."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in wrapped.named_parameters()
        if parameter.requires_grad
    }


def write_adapter(wrapped: "PeftModel", base: str, folder: Path) -> None:
    """Writes the adapters into a folder in bfloat16, as PEFT itself loads them; base: the model's name."""
    tensors = {name: value.detach().bfloat16().cpu().contiguous() for name, value in parameters_of(wrapped).items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    config = copy.copy(wrapped.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)


def shipped() -> list[Adapter]:
    """Returns the adapters that come with the project."""
    return [Adapter.read(folder) for folder in sorted(SHIPPED.glob("*")) if (folder / CARD).is_file()]
