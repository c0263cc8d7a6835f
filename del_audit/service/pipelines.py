"""From a configuration to its pipeline: the encoder that it names, fitted or loaded, and the decoder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from del_audit.configuration.configuration import Configuration, EncoderChoice
from mechanisms.continuation import embed
from mechanisms.decoding.language import LanguagePosteriorDecoder
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import load_encoder
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel, load_embedding_table
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedWords
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedProjection, load_projection

GAIN_PROMPTS = 32
"""Public prompts, and the tokens of each, whose simulated release sets the language prior's gain."""


def pipelines_of(
    configuration: Configuration,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    specs: Sequence[QuantizerSpec],
    soft_prompt: SoftPrompt | None = None,
) -> list[Pipeline]:
    """Returns a configuration's pipeline for each spec, over tokenized public documents.

    soft_prompt: what the language-prior decoder's model reads first, as the server's does.
    Raises UserError for an encoder that is missing, damaged, or trained for another model or quantizer, and as assemble
    does.
    """
    table = load_embedding_table(configuration.model)
    seed, pipelines = configuration.encoder.seed, list[Pipeline]()
    for spec in specs:
        encoder = encoder_of(configuration.encoder, language, table, spec)
        if pipelines and isinstance(encoder, EncoderSettings) and _same_codes(pipelines[0].spec, spec):
            encoder = pipelines[0].encoder
        if configuration.decoder == "language-prior":
            plain = assemble(table, documents, spec, encoder, "posterior-mean-plain", seed)
            pipelines.append(_with_language_prior(plain, language, documents, soft_prompt, seed))
        else:
            pipelines.append(assemble(table, documents, spec, encoder, configuration.decoder, seed))
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


def _with_language_prior(
    pipeline: Pipeline,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    soft_prompt: SoftPrompt | None,
    seed: int,
) -> Pipeline:
    """Returns the pipeline with the decoder of the model's own prior, its gain set on a simulated public release."""
    opening = embed(language.model, opening_tokens(language.model))
    if soft_prompt is not None:
        opening = soft_prompt.vectors.to(opening)
    prompts = [np.asarray(document[:GAIN_PROMPTS], dtype=np.int64) for document in documents if len(document)]
    prompts = prompts[:GAIN_PROMPTS]
    quantizer, source = StochasticQuantizer(pipeline.spec), SimulatedWords(seed, "language prior gain")
    counts = [quantizer.sample(pipeline.encoder.levels_of(tokens), source) for tokens in prompts]
    with torch.no_grad():
        decoder = LanguagePosteriorDecoder(
            language, pipeline.channel, np.log(pipeline.prior), pipeline.table, opening
        ).fit_gain(counts, prompts)
    return replace(pipeline, decoder=decoder)
