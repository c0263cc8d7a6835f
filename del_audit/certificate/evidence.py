"""Gathers the evidence for one configuration: the release, the attacks on it, and what it is still good for."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from attacks.attribute import Viewer
from attacks.base import InversionAttack, Public
from attacks.inversion import CommonestWord
from attacks.ladder import ladder
from attacks.names import AttackName
from attacks.outcome import Outcome, invert
from attacks.self_test import References, SelfTest, self_test
from attacks.side_channel import side_channels
from del_audit.certificate.assembly import pipelines_of
from del_audit.certificate.config import Configuration, Evaluation
from del_audit.evidence.figure import Figure
from del_audit.evidence.inference import Inference, Sample, infer
from del_audit.evidence.leakage import Leakage, Sent, measure_leakage, run_ladder
from del_audit.evidence.slices import (
    Slice,
    SliceFigure,
    frequency_slices,
    measure_slice,
    text_slices,
    token_texts,
)
from del_audit.evidence.utility import Prediction, Prompts, measure_coherence, measure_prediction, paired_gain
from mechanisms.assets import cache_folder
from mechanisms.client import Client
from mechanisms.corpora import Corpus, load_corpus
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel, load_causal_lm, load_sentence_encoder
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedWords
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt, load_soft_prompt, mechanism_warning
from mechanisms.spec import QuantizerSpec

SHOWN_TOKENS = 40
"""Tokens of the public prompt that the report shows."""


@dataclass(frozen=True, slots=True)
class Assets:
    """What a configuration names, loaded. public, private: tokenized documents of the two parts of the corpus."""

    language: LanguageModel
    sentences: Any
    soft_prompt: SoftPrompt | None
    corpus: Corpus
    public: list[list[int]]
    private: list[list[int]]
    public_corpus: Corpus
    private_corpus: Corpus


@dataclass(frozen=True, slots=True)
class OtherBits:
    """The same mu with another number of bits: what is gained and what is read."""

    spec: QuantizerSpec
    gain: Figure
    success: Figure


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured.

    keys: the configuration's name of each attack, by its display name. slices: what each attack read of each slice.
    examples: one public prompt, as its writer, the wire and each attacker see it.
    """

    leakage: Leakage
    keys: dict[str, AttackName]
    slices: dict[str, list[SliceFigure]]
    attribute: Inference | None
    task: Inference | None
    prediction: Prediction
    coherence: dict[str, Figure]
    other_bits: tuple[OtherBits, ...]
    examples: dict[str, Any]


def load_assets(configuration: Configuration) -> Assets:
    """Returns the assets; raises UserError for what is missing, corrupt or does not fit together."""
    data = configuration.data
    corpus = load_corpus(data.corpus, data.text_column)
    public_corpus, private_corpus = corpus.subset(data.public_split), corpus.subset(data.private_split)
    for choice in (configuration.attribute, configuration.task):
        if choice is not None:
            public_corpus.labels(choice.column)
            private_corpus.labels(choice.column)
    if data.public_split == data.private_split:
        raise UserError(f"Expected public_split and private_split to differ, got {data.public_split!r} twice.")
    language = load_causal_lm(configuration.model, dtype=configuration.dtype)
    width = int(language.model.config.hidden_size)
    name = configuration.soft_prompt
    soft = load_soft_prompt(name, width, language.record) if name else None
    if soft is not None and (warning := mechanism_warning(soft, configuration.mechanism.spec())):
        print(f"del-audit: warning: {warning}", file=sys.stderr)
    sentences = load_sentence_encoder(configuration.sentence_encoder)
    public, private = _tokens(language, public_corpus), _tokens(language, private_corpus)
    return Assets(language, sentences, soft, corpus, public, private, public_corpus, private_corpus)


def build(configuration: Configuration, assets: Assets, spec: QuantizerSpec) -> Pipeline:
    """Returns the pipeline of a spec over the assets."""
    return pipelines_of(configuration, assets.language, assets.public, [spec], assets.soft_prompt)[0]


def gather(configuration: Configuration, assets: Assets, pipeline: Pipeline) -> Evidence:
    """Returns the evidence; every random draw is named by the configuration's seed and its purpose."""
    plan = configuration.evaluation
    server = Server(assets.language, pipeline, assets.soft_prompt)
    attacked = send_all(assets, pipeline, plan.attacked_tokens, plan, "attacked release")
    show = _show(assets, pipeline, plan.seed)
    leakage, readings = leakage_of(configuration, assets, pipeline, attacked, show)
    slices = _slices(assets, leakage, pipeline, plan.seed)
    require_slices(configuration, slices)
    attribute, task = _inferences(configuration, assets, pipeline)
    prompts = _prompts(configuration, assets, pipeline, "prompts")
    with tqdm(total=6 * len(prompts), desc="perplexity", unit="text") as bar:
        prediction = measure_prediction(assets.language, server, prompts, plan.seed, bar)
    some = prompts.first(plan.generations)
    with tqdm(total=5 * len(some), desc="generating", unit="text") as bar:
        coherence = measure_coherence(
            assets.language, server, assets.sentences, some, plan.generated_tokens, plan.seed, bar
        )
    others = tuple(_other_bits(configuration, assets, bits) for bits in plan.other_bits)
    keys = attack_keys(plan)
    examples = _examples(assets, show, keys, readings)
    return Evidence(leakage, keys, slices, attribute, task, prediction, coherence, others, examples)


def _tokens(language: LanguageModel, corpus: Corpus) -> list[list[int]]:
    """Returns each document's tokens, cut to what the model's context holds."""
    limit = language.context_tokens
    rows = language.tokenizer(corpus.texts, add_special_tokens=False).input_ids
    return [list(row[:limit]) for row in rows]


def _client(assets: Assets, pipeline: Pipeline, seed: int, purpose: str) -> Client:
    """Returns the client that serves, on a seeded source: these prompts are public test text."""
    words = SimulatedWords(seed, purpose)
    tokenizer, limit = assets.language.tokenizer, assets.language.context_tokens
    return Client(tokenizer, pipeline, limit, words)


def public_of(assets: Assets, pipeline: Pipeline, seed: int) -> Public:
    """Returns all that an attacker knows; the private part of the corpus is not in it."""
    return Public(pipeline, pipeline.table, pipeline.prior, assets.public, assets.language, seed)


def attacked_text(assets: Assets, tokens: int, prompt_tokens: int) -> tuple[list[list[int]], list[int]]:
    """Returns private prompts of so many tokens together, and each prompt's document.

    Every document's first prompt comes before any second one: documents are what an interval counts.
    """
    prompts: list[list[int]] = []
    documents: list[int] = []
    for start in range(0, max(map(len, assets.private), default=0), prompt_tokens):
        for number, document in enumerate(assets.private):
            text = document[start : start + min(prompt_tokens, tokens)]
            if text:
                prompts.append(text)
                documents.append(number)
                tokens -= len(text)
            if tokens <= 0:
                return prompts, documents
    return prompts, documents


def send_all(assets: Assets, pipeline: Pipeline, tokens: int, plan: Evaluation, purpose: str) -> Sent:
    """Returns attacked_text as the client that serves sends it."""
    prompts, documents = attacked_text(assets, tokens, plan.context_tokens)
    client = _client(assets, pipeline, plan.seed, purpose)
    return Sent([client.release_tokens(prompt) for prompt in prompts], prompts, documents)


def leakage_of(
    configuration: Configuration, assets: Assets, pipeline: Pipeline, sent: Sent, show: Sent
) -> tuple[Leakage, list[Outcome]]:
    """Returns what the ladder reads of private prompts, and each attack's reading of the public one to show.

    Attacks on single tokens read all of sent, those on contexts one prompt a document. An attack that does not pass its
    self-test is left out, and named.
    """
    plan = configuration.evaluation
    attacks = ladder(plan.attacks, plan.masked_lm, cache_folder() / "attacks", depth=1)
    tests = self_tests(attacks, assets, pipeline, plan.seed)
    usable = [attack for attack, test in zip(attacks, tests, strict=True) if test.passed]
    public, some = public_of(assets, pipeline, plan.seed), sent.one_a_document(plan.context_prompts)
    outcomes: list[tuple[InversionAttack, Outcome]] = []
    readings: list[Outcome] = []
    for attack in usable:
        attacker = attack.fit(public)
        read, shown = (
            invert(attack, attacker, part.messages, part.truths, part.documents)
            for part in (sent if attack.context_free else some, show)
        )
        outcomes.append((attack, read))
        readings.append(shown)
    failed = [test for test in tests if not test.passed]
    return measure_leakage(outcomes, pipeline.spec, pipeline.prior, plan.seed, failed), readings


def attack_keys(plan: Evaluation) -> dict[str, AttackName]:
    """Returns the configuration's name of each of its attacks, by the name that reports call it."""
    asked: list[AttackName] = [name for name in get_args(AttackName) if name in plan.attacks]
    return {attack.name: key for attack, key in zip(ladder(plan.attacks, plan.masked_lm), asked, strict=True)}


def _slices(assets: Assets, leakage: Leakage, pipeline: Pipeline, seed: int) -> dict[str, list[SliceFigure]]:
    """Returns what each attack read of rare and common words, names and numbers, beside the baseline."""
    found: dict[str, list[SliceFigure]] = {}
    parts: dict[bool, tuple[list[Slice], Outcome]] = {}
    for figures in leakage.attacks:
        outcome, context_free = figures.outcome, figures.broken_below is not None
        if context_free not in parts:
            named = text_slices(outcome, assets.language.tokenizer, assets.public_corpus.texts)
            commonest = outcome.of_one_guess(CommonestWord(), int(np.argmax(pipeline.prior)))
            parts[context_free] = [*frequency_slices(outcome.truth, pipeline.prior), *named], commonest
        slices, baseline = parts[context_free]
        found[figures.name] = [measure_slice(part, outcome, baseline, seed) for part in slices]
    return found


def require_slices(configuration: Configuration, slices: Mapping[str, Sequence[SliceFigure]]) -> None:
    """Raises UserError for a limit on a slice that this vocabulary does not have."""
    there = list(dict.fromkeys(part.name for parts in slices.values() for part in parts))
    for name in configuration.policy.slice_success_at_most:
        if name not in there:
            raise UserError(f"Expected policy.slice_success_at_most among {', '.join(there)}, got {name!r}.")


def self_tests(attacks: Sequence[InversionAttack], assets: Assets, pipeline: Pipeline, seed: int) -> list[SelfTest]:
    """Returns the self-test of each attack, on public text alone."""
    references = References.of(public_of(assets, pipeline, seed))
    with tqdm(attacks, desc="self-tests", unit="attack") as bar:
        return [self_test(attack, references, seed) for attack in bar]


def _prompts(configuration: Configuration, assets: Assets, pipeline: Pipeline, purpose: str) -> Prompts:
    """Returns the first private documents that are long enough, cut into released prompt and true response."""
    plan = configuration.evaluation
    cut, end = plan.prompt_tokens, plan.prompt_tokens + plan.response_tokens
    long_enough = [document[:end] for document in assets.private if len(document) >= end][: plan.prompts]
    if len(long_enough) < plan.prompts:
        raise UserError(
            f"Expected evaluation.prompts <= {len(long_enough)}, the private documents of {end} tokens or more, "
            f"got evaluation.prompts={plan.prompts}."
        )
    client = _client(assets, pipeline, plan.seed, purpose)
    clean = [document[:cut] for document in long_enough]
    return Prompts([client.release_tokens(tokens) for tokens in clean], clean, [d[cut:] for d in long_enough])


def _inferences(
    configuration: Configuration, assets: Assets, pipeline: Pipeline
) -> tuple[Inference | None, Inference | None]:
    """Returns what the strongest probes tell of the attribute, and what cheap ones tell of the task."""
    attribute, task = configuration.attribute, configuration.task
    found: list[Inference | None] = [None, None]
    if attribute is not None:
        labels = [label for label in assets.public_corpus.labels(attribute.column) if label is not None]
        common = [label for label, _ in Counter(labels).most_common(attribute.classes)]
        found[0] = _inference(configuration, assets, pipeline, attribute.column, common, strongest=True)
    if task is not None:
        found[1] = _inference(configuration, assets, pipeline, task.column, None, strongest=False)
    return found[0], found[1]


def _inference(
    configuration: Configuration,
    assets: Assets,
    pipeline: Pipeline,
    column: str,
    classes: Sequence[str] | None,
    strongest: bool,
) -> Inference:
    """Returns the probes of one column; fitted on releases of public documents, scored once on the private ones.

    classes: documents of other ones are left out; None takes every document that has a label.
    """
    plan = configuration.evaluation
    viewer = Viewer(public_of(assets, pipeline, plan.seed), tokenizer=assets.language.tokenizer)
    samples = []
    for part, documents, corpus, releases in (
        ("public", assets.public, assets.public_corpus, plan.probe_releases),
        ("private", assets.private, assets.private_corpus, 1),
    ):
        labels = corpus.labels(column)
        kept = [label is not None and (classes is None or label in classes) for label in labels]
        chosen = [i for i, text in enumerate(documents) if text and kept[i]] * releases
        texts = [documents[i][: plan.probe_tokens] for i in chosen]
        client = _client(assets, pipeline, plan.seed, f"{part} probes of {column}")
        with tqdm(texts, desc=f"{part} releases for {column}", unit="prompt") as bar:
            messages = [client.release_tokens(text) for text in bar]
        if strongest:
            released = viewer.released(messages, texts if part == "public" else None).rows
            clean = viewer.clean(texts).rows
        else:
            released, clean = viewer.plain(messages).rows, viewer.plain_clean(texts).rows
        samples.append(
            Sample(
                released,
                clean,
                tuple(str(labels[i]) for i in chosen),
                tuple(f"{part} {i}" for i in chosen),
                {"sizes": side_channels(pipeline, messages).features},
            )
        )
    public, private = samples
    return infer(column, public, private, plan.seed)


def _other_bits(configuration: Configuration, assets: Assets, bits: int) -> OtherBits:
    """Returns gain and the strongest attack on single tokens with another number of bits at the same mu."""
    plan, here = configuration.evaluation, configuration.mechanism.spec()
    spec = QuantizerSpec.from_mu(bits, here.dim, here.clip, here.mu)
    pipeline = build(configuration, assets, spec)
    server = Server(assets.language, pipeline, assets.soft_prompt)
    prompts = _prompts(configuration, assets, pipeline, f"prompts at {bits} bits").first(plan.other_prompts)
    with tqdm(total=2 * len(prompts), desc=f"perplexity at {bits} bits", unit="text") as bar:
        gain = paired_gain(server, prompts, plan.seed, bar)
    tokens = min(4_000, plan.attacked_tokens)
    released = send_all(assets, pipeline, tokens, plan, f"attacked release at {bits} bits")
    free = [attack for attack in ladder(plan.attacks, depth=1) if attack.context_free]
    outcomes = run_ladder(free, public_of(assets, pipeline, plan.seed), released)
    leakage = measure_leakage(outcomes, spec, pipeline.prior, plan.seed)
    return OtherBits(spec, gain, leakage.strongest.success)


def _show(assets: Assets, pipeline: Pipeline, seed: int) -> Sent:
    """Returns a public prompt as the client sends it: what it says may stand in a report."""
    documents = [document for document in assets.public if document]
    prompt = next((d for d in documents if len(d) >= SHOWN_TOKENS), documents[0])[:SHOWN_TOKENS]
    message = _client(assets, pipeline, seed, "prompt to show").release_tokens(prompt)
    return Sent([message], [prompt], ["public"])


def _examples(
    assets: Assets, show: Sent, keys: Mapping[str, AttackName], readings: Sequence[Outcome]
) -> dict[str, Any]:
    """Returns one public prompt as its writer, the wire and each attacker see it."""
    tokenizer = assets.language.tokenizer
    return {
        "source": "public split, released here for show",
        "written": token_texts(tokenizer, list(show.truths[0])),
        "sent": show.messages[0][:48].hex(),
        "tokens": len(show.truths[0]),
        "readings": [
            {
                "attack": outcome.attack,
                "key": keys[outcome.attack],
                "read": token_texts(tokenizer, outcome.guess.tolist()),
                "hits": "".join("1" if hit else "0" for hit in outcome.hits),
            }
            for outcome in readings
        ],
    }
