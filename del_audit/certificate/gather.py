"""Gathers the evidence for one configuration: the release, the attacks on it, and what it is still good for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from tqdm import tqdm

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.candidate_list import CandidateList, self_test_of_lists
from attacks.known_context import Sides
from attacks.ladder import ladder, trained_attackers
from attacks.outcome import Outcome
from attacks.registry import AttackName, always_run
from del_audit.certificate.model import Examples, Reading
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.candidate_list import LISTED, TOO_FEW, ListFigure, private_lists
from del_audit.evidence.inference import Inference
from del_audit.evidence.inferences import attribute_inference, task_inference
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.readers import ADAPTED, AttackReader, equipment, read_all, self_tests
from del_audit.evidence.inversion.readings import (
    AttackReading,
    Readings,
    Target,
    attack_reading,
    readings_of,
    slices_of,
)
from del_audit.evidence.inversion.slices import SliceFigure
from del_audit.evidence.known_context import KNOWN_CONTEXTS, ContextFigures, known_context
from del_audit.evidence.utility import Prediction, Prompts, measure_coherence, measure_prediction, paired_gain
from del_audit.runs import Parts
from del_audit.service.assets import Assets, at_sends, build, client_of, load_assets, public_of
from del_audit.service.pipelines import AnyPipeline, pipelines_of
from del_audit.service.private_text import answered_prompts, attacked_prompts
from del_audit.service.releases import PrivatePrompts, Releases
from del_audit.statistics.figure import Figure
from del_audit.workers.work import Part
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


@dataclass(frozen=True, slots=True)
class Lists:
    """How often a text is picked out of lists. why: there is no figure; empty where there is one."""

    figures: tuple[ListFigure, ...]
    why: str


@dataclass(frozen=True)
class Gathering:
    """The evidence for one configuration in parts, each measured once and kept in the run's folder.

    Every random draw is named by the seed and its purpose, so that it is the same wherever a part is measured. Attacks
    hold as many releases of each prompt as the policy allows sends; what the server makes of one is measured on one.
    """

    configuration: Configuration
    assets: Assets
    pipeline: AnyPipeline
    run: Parts

    def evidence(self) -> Evidence:
        """Returns all that is measured; raises UserError as each part does."""
        for part in self.missing():
            self.make(part.asked)
        policy, longest = self.configuration.policy, self._private.longest
        readings = readings_of(
            {key: self._reading(key) for key in self._ladder}, self.configuration, self.assets, self._attacked, longest
        )
        slices = slices_of(
            self.assets, readings.leakage, self._attacked, longest, policy.prompt_tokens, readings.stopped
        )
        lists = self._lists()
        return Evidence(
            readings,
            slices,
            self._attribute(),
            self._task(),
            self._prediction(),
            self._coherence(),
            tuple(self._at_bits(bits) for bits in self.configuration.evaluation.other_bits),
            _examples(self.assets, self._target.show, readings.shown),
            self._context("left"),
            self._context("both sides"),
            lists.figures,
            lists.why,
        )

    def missing(self) -> list[Part]:
        """Returns the parts that are not finished, in the order in which workers take them."""
        return [Part(name, name) for name in self._measures if not self.run.has_part(_mark(name))]

    def make(self, asked: object) -> None:
        """Makes a part of `missing` and keeps it."""
        name = str(asked)
        self._measures[name]()
        self.run.value(_mark(name), bool, lambda: True)

    @property
    def _measures(self) -> dict[str, Callable[[], object]]:
        """Each part by its name. The last attack of the ladder takes longest; others need what its fit trains."""
        bits = self.configuration.evaluation.other_bits
        attacks = {f"attack-{key}": partial(self._reading, key) for key in self._ladder}
        last = next(reversed(attacks))
        return {
            last: attacks[last],
            "lists": self._lists,
            "attribute": self._attribute,
            "coherence": self._coherence,
            "prediction": self._prediction,
            "task": self._task,
            **{_bits_name(each): partial(self._at_bits, each) for each in bits},
            **dict(reversed(attacks.items())),
            **{_context_name(sides): partial(self._context, sides) for sides in KNOWN_CONTEXTS},
        }

    @cached_property
    def _ladder(self) -> dict[AttackName, InversionAttack]:
        plan = self.configuration.evaluation
        return ladder(plan.attacks, plan.masked_lm, trained_attackers(plan.attacks), depth=1)

    @cached_property
    def _attacked(self) -> AnyPipeline:
        return at_sends(self.pipeline, self.configuration.policy.sends)

    @cached_property
    def _private(self) -> PrivatePrompts:
        plan, policy = self.configuration.evaluation, self.configuration.policy
        return attacked_prompts(self.assets, plan.attacked_tokens, policy.prompt_tokens)

    @cached_property
    def _target(self) -> Target:
        return Target.of(self.configuration, self.assets, self._attacked, self._private)

    @cached_property
    def _server(self) -> Server:
        return Server(self.assets.language, self.pipeline, self.assets.soft_prompt)

    @cached_property
    def _prompts(self) -> Prompts:
        answered = answered_prompts(self.configuration, self.assets)
        return answered.released(client_of(self.assets, self.pipeline, self.assets.seed, "prompts").release_tokens)

    @cached_property
    def _knowledge(self) -> AttackerKnowledge:
        """What attackers know who know the context, with the language model that an attack of the ladder trains."""
        public = self._target.public
        if (attack := self._ladder.get(ADAPTED)) is None:
            return public
        test = self_tests({ADAPTED: attack}, public, self.assets.seed, self.run, self._target.references)[ADAPTED]
        return equipment(AttackReader(attack, public).attacker, public)[1] if test.passed else public

    @cached_property
    def _pipelines(self) -> dict[int, Pipeline]:
        """The pipeline at other numbers of bits and the same mu."""
        bits = self.configuration.evaluation.other_bits
        here = self.configuration.quantizer("evaluation.other_bits").spec()
        specs = [QuantizerSpec.from_mu(each, here.dim, here.clip, here.mu) for each in bits]
        soft_prompt = self.assets.soft_prompt
        made = pipelines_of(self.configuration, self.assets.language, self.assets.public, specs, soft_prompt)
        return dict(zip(bits, made, strict=True))

    def _reading(self, key: AttackName) -> AttackReading:
        return attack_reading(key, self._ladder[key], self._target, self.run)

    def _context(self, sides: Sides) -> ContextFigures:
        policy = self.configuration.policy
        return self.run.value(
            _context_name(sides),
            ContextFigures,
            lambda: known_context(
                sides, self._knowledge, self._target.sent, policy.prompt_tokens, self.assets.seed, policy.sends
            ),
        )

    def _lists(self) -> Lists:
        target, longest = self._target, self.configuration.policy.prompt_tokens
        return self.run.value("lists", Lists, lambda: lists_of(self.assets, self._attacked, target, longest))

    def _attribute(self) -> Inference | None:
        about = (self.configuration, self.assets, self.pipeline)
        return self.run.value("attribute", Inference | None, lambda: attribute_inference(*about))

    def _task(self) -> Inference | None:
        about = (self.configuration, self.assets, self.pipeline)
        return self.run.value("task", Inference | None, lambda: task_inference(*about))

    def _prediction(self) -> Prediction:
        def measured() -> Prediction:
            with tqdm(total=6 * len(self._prompts), desc="perplexity", unit="text") as bar:
                return measure_prediction(self.assets.language, self._server, self._prompts, self.assets.seed, bar)

        return self.run.value("prediction", Prediction, measured)

    def _coherence(self) -> dict[str, Figure]:
        plan, assets = self.configuration.evaluation, self.assets

        def measured() -> dict[str, Figure]:
            some = self._prompts.first(plan.generations)
            with tqdm(total=5 * len(some), desc="generating", unit="text") as bar:
                return measure_coherence(
                    assets.language, self._server, assets.sentences, some, plan.generated_tokens, assets.seed, bar
                )

        return self.run.value("coherence", dict[str, Figure], measured)

    def _at_bits(self, bits: int) -> OtherBits:
        return self.run.value(
            _bits_name(bits),
            OtherBits,
            lambda: _other_bits(self.configuration, self.assets, self._pipelines[bits]),
        )


def _mark(name: str) -> str:
    """Returns the name of what says that a part is finished."""
    return f"{name}-finished"


def _bits_name(bits: int) -> str:
    return f"{bits}-bits"


def _context_name(sides: Sides) -> str:
    return f"knowing-{sides.replace(' ', '-')}"


def lists_of(assets: Assets, attacked: AnyPipeline, target: Target, longest: int) -> Lists:
    """Returns how often a text is picked out of a list, or why there is no figure: a self-test, or too few texts."""
    test = self_test_of_lists(CandidateList(), target.references, target.public, assets.seed)
    if not test.passed:
        return Lists((), f"{test.attack} failed its self-test. {test.reason}")
    found = private_lists(assets, client_of(assets, attacked, assets.seed, LISTED), target.public, longest)
    return Lists(found, "" if found else TOO_FEW)


def bench_in(folder: Path, configuration: Configuration) -> Gathering:
    """Returns a worker's parts of the evidence, kept in a folder of its own; loads what the configuration names."""
    assets = load_assets(configuration)
    pipeline = build(configuration, assets)
    return Gathering(configuration, assets, pipeline, Parts(folder / "run", {"command": "certify"}))


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


def _other_bits(configuration: Configuration, assets: Assets, pipeline: Pipeline) -> OtherBits:
    """Returns gain and what MAP reads at other numbers of bits: no attack on single tokens beats it."""
    plan, policy, spec = configuration.evaluation, configuration.policy, pipeline.spec
    server = Server(assets.language, pipeline, assets.soft_prompt)
    client = client_of(assets, pipeline, assets.seed, f"prompts at {spec.bits} bits")
    prompts = answered_prompts(configuration, assets).released(client.release_tokens).first(plan.other_prompts)
    with tqdm(total=2 * len(prompts), desc=f"perplexity at {spec.bits} bits", unit="text") as bar:
        gain = paired_gain(server, prompts, assets.seed, bar)
    tokens, attacked = min(4_000, plan.attacked_tokens), at_sends(pipeline, policy.sends)
    private, purpose = attacked_prompts(assets, tokens, policy.prompt_tokens), f"attacked release at {spec.bits} bits"
    released = private.released(client_of(assets, attacked, assets.seed, purpose).release_tokens)
    outcomes = read_all(ladder(always_run(), depth=1), public_of(assets, attacked, assets.seed), released)
    leakage = measure_leakage(outcomes, spec, pipeline.prior, assets.seed, longest=private.longest, sends=policy.sends)
    return OtherBits(spec, gain, leakage.strongest.success)
