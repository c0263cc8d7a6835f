"""Gathers the evidence for one configuration: the release, the attacks on it, and what it is still good for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from attacks.attribute import Viewer
from attacks.ladder import ladder
from attacks.registry import AttackName, always_run
from attacks.repeated import repeated
from attacks.side_channel import side_channels
from del_audit.certificate.reading import (
    Readings,
    examples_of,
    readings_of,
    slices_of,
)
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.inference import Inference, Sample, infer
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.readers import read_all
from del_audit.evidence.inversion.slices import SliceFigure
from del_audit.evidence.utility import Prediction, measure_coherence, measure_prediction, paired_gain
from del_audit.service.assets import Assets, client_of, public_of
from del_audit.service.pipelines import pipelines_of
from del_audit.service.private_text import answered_prompts, attacked_prompts, classes_of, labelled_rows
from del_audit.service.shown_prompt import prompt_to_show
from del_audit.statistics.figure import Figure
from mechanisms.pipeline import Pipeline
from mechanisms.server import Server
from mechanisms.spec import QuantizerSpec


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
    private = attacked_prompts(assets, plan.attacked_tokens, policy.prompt_tokens)
    sent = private.released(client_of(assets, attacked, assets.seed, "attacked release").release_tokens)
    show = prompt_to_show(assets, attacked)
    readings = readings_of(configuration, assets, attacked, sent, show, private.longest)
    slices = slices_of(assets, readings.leakage, attacked, private.longest, policy.prompt_tokens, readings.stopped)
    attribute, task = inferences_of(configuration, assets, pipeline)
    answered = answered_prompts(configuration, assets)
    prompts = answered.released(client_of(assets, pipeline, assets.seed, "prompts").release_tokens)
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


def inferences_of(
    configuration: Configuration, assets: Assets, pipeline: Pipeline
) -> tuple[Inference | None, Inference | None]:
    """Returns what the strongest probes tell of the attribute, and what cheap ones tell of the task."""
    attribute, task = configuration.attribute, configuration.task
    found: list[Inference | None] = [None, None]
    if attribute is not None:
        attacked, classes = at_sends(pipeline, configuration.policy.sends), classes_of(attribute, assets)
        found[0] = _inference(configuration, assets, attacked, attribute.column, classes, strongest=True)
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
    of_public, of_private = labelled_rows(assets, column, classes)
    for part, documents, labelled, groups, releases in (
        ("public", assets.public, of_public, assets.public_groups, plan.probe_releases),
        ("private", assets.private, of_private, assets.private_groups, 1),
    ):
        chosen = labelled.rows * releases
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
                tuple(labelled.labels[i] for i in chosen),
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
    client = client_of(assets, pipeline, assets.seed, f"prompts at {spec.bits} bits")
    prompts = answered_prompts(configuration, assets).released(client.release_tokens).first(plan.other_prompts)
    with tqdm(total=2 * len(prompts), desc=f"perplexity at {spec.bits} bits", unit="text") as bar:
        gain = paired_gain(server, prompts, assets.seed, bar)
    tokens, cut = min(4_000, plan.attacked_tokens), configuration.policy.prompt_tokens
    attacked = at_sends(pipeline, configuration.policy.sends)
    private, purpose = attacked_prompts(assets, tokens, cut), f"attacked release at {spec.bits} bits"
    released = private.released(client_of(assets, attacked, assets.seed, purpose).release_tokens)
    outcomes = read_all(ladder(always_run(), depth=1), public_of(assets, attacked, assets.seed), released)
    leakage = measure_leakage(
        outcomes, spec, pipeline.prior, assets.seed, longest=private.longest, sends=configuration.policy.sends
    )
    return OtherBits(spec, gain, leakage.strongest.success)
