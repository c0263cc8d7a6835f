"""From a configuration to its pipeline: the mechanism that it names, and the decoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from del_audit.configuration.configuration import Configuration, EncoderChoice
from del_audit.configuration.mechanisms import DelMechanism, OwnMechanism, RivalMechanism
from del_audit.service.mechanisms import mechanism_over
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import load_encoder
from mechanisms.models import LanguageModel, load_embedding_table
from mechanisms.pipeline import Pipeline, assemble
from mechanisms.projection import EncoderSettings
from mechanisms.public_words import PublicWords
from mechanisms.rival_pipeline import RivalPipeline, assemble_own, assemble_rival
from mechanisms.rivals.coarse_words import CoarseWordsSpec
from mechanisms.soft_prompt import SoftPrompt
from mechanisms.spec import QuantizerSpec
from mechanisms.trained_projection import TrainedProjection, load_projection

AnyPipeline = Pipeline | RivalPipeline
"""What is served, attacked and certified: DEL's, or another mechanism's."""


def pipeline_of(
    configuration: Configuration,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    soft_prompt: SoftPrompt | None = None,
) -> AnyPipeline:
    """Returns a configuration's pipeline over tokenized public documents; arguments and errors as of pipelines_of.

    Raises UserError as mechanism_over and assemble_rival do for other mechanisms than DEL.
    """
    choice = configuration.mechanism
    if isinstance(choice, DelMechanism):
        return pipelines_of(configuration, language, documents, [choice.spec()], soft_prompt)[0]
    words = PublicWords(load_embedding_table(configuration.model, language), documents)
    mechanism = mechanism_over(choice, words)
    if isinstance(choice, OwnMechanism) and not isinstance(choice, RivalMechanism):
        return assemble_own(mechanism, words)
    return assemble_rival(mechanism, words, configuration.decoder, language, soft_prompt)


def public_file_sha256(pipeline: AnyPipeline) -> str:
    """Returns the sha256 of what a client needs beside its description: DEL's codes, a map of words; none else."""
    if isinstance(pipeline, Pipeline):
        return pipeline.encoder.sha256
    return pipeline.spec.symbols if isinstance(pipeline.spec, CoarseWordsSpec) else "none"


def pipelines_of(
    configuration: Configuration,
    language: LanguageModel,
    documents: Sequence[Sequence[int]],
    specs: Sequence[QuantizerSpec],
    soft_prompt: SoftPrompt | None = None,
) -> list[Pipeline]:
    """Returns DEL's pipeline for each spec with a configuration's encoder, over tokenized public documents.

    soft_prompt: what the server's model reads first, for a decoder that reads with the model.
    Raises UserError for an encoder that is missing, damaged, or trained for another model or quantizer, and as assemble
    does.
    """
    table = load_embedding_table(configuration.model, language)
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
