"""From a configuration to its pipeline: the encoder that it names, fitted or loaded, and the decoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from del_audit.configuration.configuration import Configuration, EncoderChoice
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import load_encoder
from mechanisms.models import LanguageModel, load_embedding_table
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedProjection, load_projection


def pipelines_of(
    configuration: Configuration,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    specs: Sequence[QuantizerSpec],
    soft_prompt: SoftPrompt | None = None,
) -> list[Pipeline]:
    """Returns a configuration's pipeline for each spec, over tokenized public documents.

    soft_prompt: what the server's model reads first, for a decoder that reads with the model.
    Raises UserError for an encoder that is missing, damaged, or trained for another model or quantizer, and as assemble
    does.
    """
    table = load_embedding_table(configuration.model)
    seed, pipelines = configuration.encoder.seed, list[Pipeline]()
    for spec in specs:
        encoder = encoder_of(configuration.encoder, language, table, spec)
        if pipelines and isinstance(encoder, EncoderSettings) and _same_codes(pipelines[0].spec, spec):
            encoder = pipelines[0].encoder
        pipelines.append(assemble(table, documents, spec, encoder, configuration.decoder, seed, language, soft_prompt))
    return pipelines


def _same_codes(one: QuantizerSpec, other: QuantizerSpec) -> bool:
    """Returns whether a closed form gives both specs the same codes: it looks at neither bits nor scale."""
    return (one.dim, one.clip) == (other.dim, other.clip)


def encoder_of(
    choice: EncoderChoice, language: LanguageModel, table: NDArray[np.float32], spec: QuantizerSpec
) -> EncoderSettings | Encoder | TrainedProjection:
    """Returns what the choice names: settings of a closed form, codes, or a pair of encoder and decoder.

    Raises UserError for what is missing, damaged, or trained for another model, dim or clip.
    """
    if choice.projection is not None:
        return load_projection(Path(choice.projection), table, spec)
    if choice.codes is not None:
        return load_encoder(Path(choice.codes), spec, len(table), language.record.sha256)[0]
    return choice.settings()
