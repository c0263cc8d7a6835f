"""`del-audit train`: trains a configuration's soft prompt, linear pair or codes on the configuration's public text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from del_audit.accounting.dp_sgd import TrainingGuarantee, training_guarantee
from del_audit.accounting.layer_selection import ChargedSelection
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.service.language import language_of
from del_audit.service.pipelines import AnyPipeline, pipeline_of, pipelines_of, public_file_sha256
from del_audit.service.splits import read_splits
from del_audit.training.quantize import Quantize
from mechanisms.canonical_json import Json
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel
from mechanisms.registry import DECODERS
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenized
from mechanisms.training import History, ProjectionTraining, PromptTraining, perplexity, train_projection
from mechanisms.training.kernels import Kernel
from mechanisms.training.layer_selection import LowPrecision
from mechanisms.training.private_prompt import DpSgdSettings, calibrated_noise, sample_rate, train_private_prompt
from mechanisms.training.prompt import train_soft_prompt

HELD_OUT = 32
"""Public documents that a soft prompt is validated on, where there are twenty times as many."""
PATIENCE = 4
_NOISE_STEP = 1.002


@dataclass(frozen=True, slots=True)
class PrivateText:
    """Private training text, and the guarantee that each of its documents is to have.

    quantize: which layers of the model run in low precision while it trains; None for none.
    """

    corpus: str
    split: str | None
    column: str | None
    epsilon: float
    delta: float
    clip_norm: float
    quantize: Quantize | None = None


def train_prompt(
    config_file: ConfigurationFile,
    out: Path,
    settings: dict[str, Any],
    *,
    held_out: int | None = None,
    levels: Sequence[float] = (),
    documents: int | None = None,
    private: PrivateText | None = None,
    fresh: bool = False,
) -> int:
    """Trains on the configuration's public split, writes a PEFT adapter with a card to out, and returns 0.

    settings: of PromptTraining, those that are given. held_out: documents to validate on. levels: values of mu instead
    of the configuration's. documents: how many of the public ones are read. private: text that is trained on with
    differential privacy; the public text then only validates. Of the configuration's private split only
    its groups are read, so that nobody in it is trained on.
    Raises UserError as load_configuration and train_soft_prompt do.
    """
    configuration = load_configuration(config_file)
    if DECODERS[configuration.decoder].language_model:
        raise UserError(
            "Expected a decoder that does not read the soft prompt that is trained, got "
            f"decoder={configuration.decoder}; posterior-mean is the nearest."
        )
    quantize = private.quantize if private is not None else None
    kernel = quantize.kernel_on(configuration.device, configuration.device_map is not None) if quantize else None
    silence_libraries()
    public, language, rows = _public_text(configuration, documents)
    tokens = [row[: language.context_tokens] for row in rows]
    pipelines: Sequence[AnyPipeline] = [pipeline_of(configuration, language, tokens)]
    if levels:
        pipelines = pipelines_of(configuration, language, tokens, _specs(configuration, levels))
    start = _start(configuration, language, settings)
    own = {"virtual_tokens": len(start.vectors)} if start else {}
    held = _held_out(held_out, tokens)
    plan = PromptTraining(**{"patience": PATIENCE, **own, **settings, "validation_documents": held})
    about: dict[str, Json] = {
        "base_model": language.record.to_dict(),
        "data": {**public.record.to_dict(), "split": configuration.data.public_split, "documents": len(public)},
        **({} if levels else {"spec": pipelines[0].spec.to_dict()}),
        "encoder": {
            **configuration.encoder.model_dump(exclude_none=True),
            "sha256": public_file_sha256(pipelines[0]),
        },
        "decoder": configuration.decoder,
    }
    if private is None:
        history = train_soft_prompt(language, pipelines, tokens, plan, out, about, start=start, fresh=fresh)
    else:
        history = _train_privately(language, pipelines, tokens, plan, out, about, private, start, fresh, kernel)
    print(f"Written: {out}{_result(history)}")
    return 0


def train_linear_pair(
    config_file: ConfigurationFile,
    out: Path,
    settings: dict[str, Any],
    *,
    documents: int | None = None,
    fresh: bool = False,
) -> int:
    """Trains encoder and decoder on the configuration's public split, writes them with a card to out, and returns 0.

    settings: of ProjectionTraining, those that are given. Raises UserError as load_configuration and
    train_projection do.
    """
    configuration = load_configuration(config_file)
    quantizer = configuration.quantizer("train projection")
    silence_libraries()
    public, language, rows = _public_text(configuration, documents)
    about: dict[str, Json] = {
        "data": {**public.record.to_dict(), "split": configuration.data.public_split, "documents": len(public)}
    }
    plan = ProjectionTraining(**settings)
    history = train_projection(language, quantizer.spec(), rows, plan, out, about, fresh=fresh)
    print(f"Written: {out}{_result(history)}")
    return 0


def train_codes(
    config_file: ConfigurationFile,
    out: Path,
    settings: dict[str, Any],
    *,
    held_out: int | None = None,
    levels: Sequence[float] = (),
    documents: int | None = None,
    fresh: bool = False,
) -> int:
    """Trains codes and a soft prompt on the configuration's public split, writes both with a card to out, returns 0.

    settings: of CodesTraining, those that are given. held_out, levels, documents: as of train_prompt. The
    configuration's own encoder, decoder and soft prompt play no part. Raises UserError as load_configuration and
    mechanisms.training.codes.train_codes do.
    """
    from mechanisms.training import codes

    configuration = load_configuration(config_file)
    configuration.quantizer("train codes")
    silence_libraries()
    public, language, rows = _public_text(configuration, documents)
    tokens = [row[: language.context_tokens] for row in rows]
    plan = codes.CodesTraining(
        **{"patience": PATIENCE, **settings, "validation_documents": _held_out(held_out, tokens)}
    )
    about: dict[str, Json] = {
        "data": {**public.record.to_dict(), "split": configuration.data.public_split, "documents": len(public)}
    }
    history = codes.train_codes(language, _specs(configuration, levels), tokens, plan, out, about, fresh=fresh)
    print(f"Written: {out}{_result(history)}")
    return 0


def _start(configuration: Configuration, language: LanguageModel, settings: dict[str, Any]) -> SoftPrompt | None:
    """Returns the configuration's soft prompt where training starts from it; raises UserError where it has none."""
    if settings.get("init") != "configured":
        return None
    if configuration.soft_prompt is None:
        raise UserError("Expected a soft_prompt in the configuration for init=configured, got none. Use --init text.")
    return load_soft_prompt(configuration.soft_prompt, language.width, language.record)


def _held_out(asked: int | None, documents: Sequence[Sequence[int]]) -> int:
    """Returns how many documents validate: those asked for, else one in twenty, at most HELD_OUT."""
    return min(HELD_OUT, len(documents) // 20) if asked is None else asked


def _public_text(configuration: Configuration, documents: int | None) -> tuple[Corpus, LanguageModel, list[list[int]]]:
    if documents is not None and documents < 1:
        raise UserError(f"Expected documents >= 1, got documents={documents}.")
    public = read_splits(configuration.data).public
    public = public.take(range(min(documents or len(public), len(public))))
    language = language_of(configuration)
    return public, language, tokenized(language.tokenizer, public.texts)


def _specs(configuration: Configuration, levels: Sequence[float]) -> list[QuantizerSpec]:
    """Returns the configuration's quantizer, or one for each level of mu."""
    own = configuration.quantizer("training at levels of mu").spec()
    return [QuantizerSpec.from_mu(own.bits, own.dim, own.clip, mu) for mu in levels] or [own]


def _train_privately(
    language: LanguageModel,
    pipelines: Sequence[AnyPipeline],
    public: Sequence[Sequence[int]],
    plan: PromptTraining,
    out: Path,
    about: dict[str, Json],
    private: PrivateText,
    start: SoftPrompt | None,
    fresh: bool,
    kernel: Kernel | None,
) -> History:
    """Trains on the private documents that are long enough; the public ones held out validate.

    kernel: of private.quantize, where there is one.
    """
    corpus = load_corpus(private.corpus, private.column, private.split)
    shortest = plan.shortest_prompt + plan.shortest_response
    documents = tokenized(language.tokenizer, corpus.texts, language.context_tokens, shortest)
    held_out = [row for row in public if len(row) >= shortest][: plan.validation_documents]
    asked, quantize, low = private, private.quantize, None
    if quantize is not None:
        asked = replace(private, epsilon=quantize.training_epsilon(private.epsilon))
    noise, found = _noise_for(asked, sample_rate(plan, documents), plan.steps)
    guarantee: dict[str, Json] = found.to_dict()
    if quantize is not None and kernel is not None:
        low, charged = quantize.charged(kernel, found, len(documents), private.epsilon)
        if charged is not None:
            found = charged.total
            guarantee = {**found.to_dict(), "selection_cost": charged.to_dict()}
        print(_said_of(low, charged))
    print(
        f"Private text: {len(documents)} documents of {shortest} tokens or more; epsilon <= {found.epsilon.upper:.4g} "
        f"at delta={private.delta:g} for each, by a noise multiplier of {noise:.4g}"
    )
    return train_private_prompt(
        language,
        pipelines,
        documents,
        held_out,
        plan,
        DpSgdSettings(noise, private.clip_norm),
        out,
        {**about, "guarantee": guarantee},
        start=start,
        fresh=fresh,
        low=low,
    )


def _said_of(low: LowPrecision, charged: ChargedSelection | None) -> str:
    """Returns a line of which layers run in low precision, how, and what choosing them takes of epsilon."""
    how = "simulated, so no time is saved" if low.kernel.simulated else "a kernel of this machine"
    cost = "choosing them takes nothing of epsilon"
    if charged is not None and charged.total.selection is not None:
        selection = charged.total.selection
        cost = (
            f"{selection.steps} releases of losses choose them, by a noise multiplier of "
            f"{selection.noise_multiplier:.4g}, and take {charged.share:.2%} of epsilon"
        )
    return f"Low precision: {low.kernel.name} ({how}) in {low.share:.0%} of the layers, {low.schedule}; {cost}"


def _noise_for(private: PrivateText, rate: float, steps: int) -> tuple[float, TrainingGuarantee]:
    """Returns a noise multiplier and the guarantee it gives: the larger of two accountants' is within the target."""
    noise = calibrated_noise(private.epsilon, private.delta, rate, steps)
    while (found := training_guarantee(noise, rate, steps, private.delta)).epsilon.upper > private.epsilon:
        noise *= _NOISE_STEP
    return noise, found


def _result(history: History) -> str:
    """Returns what the last line says of a run."""
    if history.validations:
        loss = min(loss for _, loss in history.validations)
        first = history.validations[0][1]
        return (
            f" (held-out perplexity {perplexity(loss):.4g} after {history.best_step} steps, "
            f"{perplexity(first):.4g} before training)"
        )
    last = history.losses[-10:]
    return f" (mean loss of the last steps: {sum(last) / len(last):.3f} nats a token)" if last else ""
