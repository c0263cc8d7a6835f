"""Gathers the evidence for one configuration: the release, the attacks on it, and what it is still good for."""

from collections.abc import Mapping
from dataclasses import dataclass

from tqdm import tqdm

from attacks.base import AttackerKnowledge
from attacks.candidate_list import CandidateList, self_test_of_lists
from attacks.ladder import ladder
from attacks.outcome import Outcome
from attacks.registry import AttackName, always_run
from attacks.self_test import References
from del_audit.certificate.model import Examples, Reading
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.candidate_list import LISTED, TOO_FEW, ListFigure, private_lists
from del_audit.evidence.inference import Inference
from del_audit.evidence.inferences import inferences_of
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.readers import read_all
from del_audit.evidence.inversion.readings import (
    Readings,
    readings_of,
    slices_of,
)
from del_audit.evidence.inversion.slices import SliceFigure
from del_audit.evidence.known_context import ContextFigures, known_contexts
from del_audit.evidence.utility import Prediction, measure_coherence, measure_prediction, paired_gain
from del_audit.service.assets import Assets, at_sends, client_of, public_of
from del_audit.service.pipelines import AnyPipeline, pipelines_of
from del_audit.service.private_text import answered_prompts, attacked_prompts
from del_audit.service.releases import Releases
from del_audit.service.shown_prompt import prompt_to_show
from del_audit.statistics.figure import Figure
from mechanisms.pipeline import Pipeline
from mechanisms.server import Server
from mechanisms.spec import QuantizerSpec
from mechanisms.text_pieces import token_texts


@dataclass(frozen=True, slots=True)
class OtherBits:
    """The same mu with another number of bits: what is gained and what is read."""

    spec: QuantizerSpec
    gain: Figure
    success: Figure


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured.

    readings: of the attacks. slices: what each attack recovered of each slice, by its key. context, lists: of attackers
    who know more. examples: one public prompt, as its writer, the wire and each attacker see it.
    """

    readings: Readings
    slices: dict[AttackName, list[SliceFigure]]
    attribute: Inference | None
    task: Inference | None
    prediction: Prediction
    coherence: dict[str, Figure]
    other_bits: tuple[OtherBits, ...]
    examples: Examples
    context: ContextFigures
    context_both: ContextFigures
    lists: tuple[ListFigure, ...]
    lists_why: str


def gather(configuration: Configuration, assets: Assets, pipeline: AnyPipeline) -> Evidence:
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
    public = public_of(assets, attacked, assets.seed)
    references = References.of(public)
    readings = readings_of(configuration, assets, attacked, public, references, sent, show, private.longest)
    slices = slices_of(assets, readings.leakage, attacked, private.longest, policy.prompt_tokens, readings.stopped)
    context, both = known_contexts(readings.knowledge, sent, policy.prompt_tokens, assets.seed, policy.sends)
    lists, why = _lists(assets, attacked, public, references, policy.prompt_tokens)
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
    examples = _examples(assets, show, readings.shown)
    return Evidence(
        readings, slices, attribute, task, prediction, coherence, others, examples, context, both, lists, why
    )


def _lists(
    assets: Assets, attacked: AnyPipeline, public: AttackerKnowledge, references: References, longest: int
) -> tuple[tuple[ListFigure, ...], str]:
    """Returns how often a text is picked out of a list, or why there is no figure: a self-test, or too few texts."""
    test = self_test_of_lists(CandidateList(), references, public, assets.seed)
    if not test.passed:
        return (), f"{test.attack} failed its self-test. {test.reason}"
    found = private_lists(assets, client_of(assets, attacked, assets.seed, LISTED), public, longest)
    return found, "" if found else TOO_FEW


def _examples(assets: Assets, show: Releases, readings: Mapping[AttackName, Outcome]) -> Examples:
    """Returns one public prompt as its writer, the wire and each attacker see it."""
    tokenizer = assets.language.tokenizer
    return Examples(
        source="public split, released here for show",
        written=tuple(token_texts(tokenizer, list(show.truths[0]))),
        sent=show.messages[0][:48].hex(),
        tokens=len(show.truths[0]),
        readings=tuple(
            Reading(
                attack=outcome.attack,
                key=key,
                read=tuple(token_texts(tokenizer, outcome.guess.tolist())),
                hits="".join("1" if hit else "0" for hit in outcome.hits),
            )
            for key, outcome in readings.items()
        ),
    )


def _other_bits(configuration: Configuration, assets: Assets) -> tuple[OtherBits, ...]:
    """Returns gain and what MAP reads at other numbers of bits and the same mu: no attack on single tokens beats it."""
    plan = configuration.evaluation
    if not plan.other_bits:
        return ()
    here = configuration.quantizer("evaluation.other_bits").spec()
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
