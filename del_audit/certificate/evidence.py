"""Gathers the evidence for one configuration: the release, the attacks on it, and what it is still good for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from attacks.attribute import Viewer
from attacks.ladder import ladder
from attacks.names import ALWAYS, AttackName
from attacks.repeated import repeated
from attacks.side_channel import side_channels
from del_audit.certificate.assembly import pipelines_of
from del_audit.certificate.config import Configuration
from del_audit.certificate.inputs import (
    Assets,
    attacked_rounds,
    client_of,
    one_of_each_group,
    public_of,
    send_all,
)
from del_audit.certificate.reading import (
    Readings,
    examples_of,
    prompt_to_show,
    readings_of,
    require_slices,
    slices_of,
)
from del_audit.evidence.figure import Figure
from del_audit.evidence.inference import Inference, Sample, infer
from del_audit.evidence.leakage import measure_leakage, run_ladder
from del_audit.evidence.slices import SliceFigure
from del_audit.evidence.utility import Prediction, Prompts, measure_coherence, measure_prediction, paired_gain
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.server import Server
from mechanisms.spec import QuantizerSpec
from mechanisms.splits import first_of_each


@dataclass(frozen=True, slots=True)
class OtherBits:
    """The same mu with another number of bits: what is gained and what is read."""

    spec: QuantizerSpec
    gain: Figure
    success: Figure


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured.

    readings: of the attacks. slices: what each attack recovered of each slice, by its key.
    examples: one public prompt, as its writer, the wire and each attacker see it.
    """

    readings: Readings
    slices: dict[AttackName, list[SliceFigure]]
    attribute: Inference | None
    task: Inference | None
    prediction: Prediction
    coherence: dict[str, Figure]
    other_bits: tuple[OtherBits, ...]
    examples: dict[str, Any]


def gather(configuration: Configuration, assets: Assets, pipeline: Pipeline) -> Evidence:
    """Returns the evidence; every random draw is named by the seed and its purpose.

    Attacks hold as many releases of each prompt as the policy allows sends; what the server makes of a prompt is
    measured on one.
    """
    plan, policy = configuration.evaluation, configuration.policy
    server = Server(assets.language, pipeline, assets.soft_prompt)
    attacked = at_sends(pipeline, policy.sends)
    sent = send_all(assets, attacked, plan.attacked_tokens, policy.prompt_tokens, "attacked release")
    longest = policy.prompt_tokens * attacked_rounds(assets.documents, plan.attacked_tokens, policy.prompt_tokens)
    show = prompt_to_show(assets, attacked)
    readings = readings_of(configuration, assets, attacked, sent, show, longest)
    slices = slices_of(assets, readings.leakage, attacked, longest, policy.prompt_tokens, readings.stopped)
    require_slices(configuration, slices)
    attribute, task = inferences_of(configuration, assets, pipeline)
    prompts = _prompts(configuration, assets, pipeline, "prompts")
    with tqdm(total=6 * len(prompts), desc="perplexity", unit="text") as bar:
        prediction = measure_prediction(assets.language, server, prompts, assets.seed, bar)
    some = prompts.first(plan.generations)
    with tqdm(total=5 * len(some), desc="generating", unit="text") as bar:
        coherence = measure_coherence(
            assets.language, server, assets.sentences, some, plan.generated_tokens, assets.seed, bar
        )
    others = _other_bits(configuration, assets)
    examples = examples_of(assets, show, readings.shown)
    return Evidence(readings, slices, attribute, task, prediction, coherence, others, examples)


def at_sends(pipeline: Pipeline, sends: int) -> Pipeline:
    """Returns the pipeline that sends each prompt so often, with fresh noise: what an attacker of it holds."""
    if sends == 1:
        return pipeline
    found = repeated(pipeline, sends)
    assert isinstance(found, Pipeline)
    return found


def _prompts(configuration: Configuration, assets: Assets, pipeline: Pipeline, purpose: str) -> Prompts:
    """Returns each group's first private document that is long enough, cut into released prompt and true response."""
    plan, cut = configuration.evaluation, configuration.policy.prompt_tokens
    end = cut + plan.response_tokens
    long_enough = [document[:end] for document in one_of_each_group(assets, end)][: plan.prompts]
    if len(long_enough) < plan.prompts:
        units = configuration.data.group_column or "row"
        raise UserError(
            f"Expected evaluation.prompts <= {len(long_enough)}, private documents of {end} tokens or more, one per "
            f"{units}, got evaluation.prompts={plan.prompts}. Lower evaluation.prompts or evaluation.response_tokens."
        )
    client = client_of(assets, pipeline, assets.seed, purpose)
    clean = [document[:cut] for document in long_enough]
    return Prompts([client.release_tokens(tokens) for tokens in clean], clean, [d[cut:] for d in long_enough])


def inferences_of(
    configuration: Configuration, assets: Assets, pipeline: Pipeline
) -> tuple[Inference | None, Inference | None]:
    """Returns what the strongest probes tell of the attribute, and what cheap ones tell of the task."""
    attribute, task = configuration.attribute, configuration.task
    found: list[Inference | None] = [None, None]
    if attribute is not None:
        labels = [label for label in assets.public_corpus.labels(attribute.column) if label is not None]
        common = [label for label, _ in Counter(labels).most_common(attribute.classes)]
        attacked = at_sends(pipeline, configuration.policy.sends)
        found[0] = _inference(configuration, assets, attacked, attribute.column, common, strongest=True)
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

    classes: documents of other ones are left out; None takes every document that has a label. The private sample has
    one document of each group, its first, so that its intervals are exact; public documents of a group stay together.
    """
    plan = configuration.evaluation
    viewer = Viewer(public_of(assets, pipeline, assets.seed), tokenizer=assets.language.tokenizer)
    samples = []
    for part, documents, corpus, groups, releases in (
        ("public", assets.public, assets.public_corpus, assets.public_groups, plan.probe_releases),
        ("private", assets.private, assets.private_corpus, assets.private_groups, 1),
    ):
        labels = corpus.labels(column)
        kept = [label is not None and (classes is None or label in classes) for label in labels]
        rows = [i for i, text in enumerate(documents) if text and kept[i]]
        if part == "private":
            rows = [rows[place] for place in first_of_each(groups[i] for i in rows)]
        chosen = rows * releases
        texts = [documents[i][: plan.probe_tokens] for i in chosen]
        client = client_of(assets, pipeline, assets.seed, f"{part} probes of {column}")
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
                tuple(groups[i] for i in chosen),
                {"sizes": side_channels(pipeline, messages).features},
            )
        )
    public, private = samples
    return infer(column, public, private, assets.seed)


def _other_bits(configuration: Configuration, assets: Assets) -> tuple[OtherBits, ...]:
    """Returns gain and what MAP reads at other numbers of bits and the same mu: no attack on single tokens beats it."""
    plan, here = configuration.evaluation, configuration.mechanism.spec()
    specs = [QuantizerSpec.from_mu(bits, here.dim, here.clip, here.mu) for bits in plan.other_bits]
    pipelines = pipelines_of(configuration, assets.language, assets.public, specs, assets.soft_prompt)
    return tuple(_at_other_bits(configuration, assets, pipeline) for pipeline in pipelines)


def _at_other_bits(configuration: Configuration, assets: Assets, pipeline: Pipeline) -> OtherBits:
    plan, spec = configuration.evaluation, pipeline.spec
    server = Server(assets.language, pipeline, assets.soft_prompt)
    prompts = _prompts(configuration, assets, pipeline, f"prompts at {spec.bits} bits").first(plan.other_prompts)
    with tqdm(total=2 * len(prompts), desc=f"perplexity at {spec.bits} bits", unit="text") as bar:
        gain = paired_gain(server, prompts, assets.seed, bar)
    tokens, cut = min(4_000, plan.attacked_tokens), configuration.policy.prompt_tokens
    attacked = at_sends(pipeline, configuration.policy.sends)
    released = send_all(assets, attacked, tokens, cut, f"attacked release at {spec.bits} bits")
    outcomes = run_ladder(ladder(ALWAYS, depth=1), public_of(assets, attacked, assets.seed), released)
    longest = cut * attacked_rounds(assets.documents, tokens, cut)
    leakage = measure_leakage(
        outcomes, spec, pipeline.prior, assets.seed, longest=longest, sends=configuration.policy.sends
    )
    return OtherBits(spec, gain, leakage.strongest.success)
