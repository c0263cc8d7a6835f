"""Classes of transformers for annotations, as names alone: to import them would load the library."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import transformers

PreTrainedModel: TypeAlias = "transformers.PreTrainedModel"
PreTrainedTokenizerBase: TypeAlias = "transformers.PreTrainedTokenizerBase"
