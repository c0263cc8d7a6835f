"""Measurements of points, each made once: by the code that certifies, kept so that a killed run goes on."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from attacks.base import InversionAttack
from attacks.ladder import ladder, trained_attackers
from attacks.outcome import Outcome
from attacks.registry import AttackName, always_run
from del_audit.accounting.any_mechanism import has_proof, proved_guarantee
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.evidence.inferences import inferences_of
from del_audit.evidence.information import information
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.meaning import Meaning
from del_audit.evidence.inversion.readers import AttackReader
from del_audit.evidence.system import System
from del_audit.evidence.utility import CLEAN, OTHER, OTHER_CLEAN, RELEASED, clean_losses, released_losses
from del_audit.frontier.measured import Attacked, First, Knowing, Second, list_figure
from del_audit.frontier.points import Point
from del_audit.frontier.public_choices import held_out_loss, trained_for
from del_audit.runs import NAME_DIGITS, Run
from del_audit.service.assets import Assets, build, client_of, load_assets, public_of
from del_audit.service.clusters import with_clusters
from del_audit.service.pipelines import AnyPipeline
from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import gain_mean, share_of_gain
from del_audit.workers.work import Part
from mechanisms.hashes import json_sha256
from mechanisms.registry import DecoderName
from mechanisms.rivals.message_sizes import described_sizes
from mechanisms.server import Server
from mechanisms.soft_prompt import SoftPrompt

FIRST, GAIN = "first", "gain"
NAME = "frontier"
"""Names the random draws: every point is measured on the same texts, by draws of the same names."""


@dataclass(slots=True)
class FrontierBench:
    """A bench over the private split. delta: of every proved epsilon. progress: is told what is measured next.

    decoders: of which each point of the second stage has the one of lowest loss on held-out public text; none: all have
    the configuration's. train_steps: of the soft prompt that each of these points has; 0: all have the configuration's.
    """

    base: Configuration
    assets: Assets
    delta: float
    run: Run
    decoders: tuple[DecoderName, ...] = ()
    train_steps: int = 0
    progress: Callable[[str], None] = lambda said: None
    _built: dict[str, AnyPipeline] = field(default_factory=dict)

    def first(self, point: Point) -> First:
        """Returns the first stage: what is proved, sent, read by MAP, and told on average."""
        return First.of(self._kept(FIRST, point, self._first))

    def second(self, point: Point) -> Second:
        """Returns the second stage: all attacks, whoever knows more, the gain, and the attribute."""
        point, losses = self._with_decoder(point)
        attacks = self._kept("attacks", point, self._attacks)["attacks"]
        contexts = self._kept("contexts", point, self._contexts)["contexts"]
        lists = self._kept("lists", point, self._lists)["lists"]
        prompt = self._kept("soft prompt", point, self._train) if self.train_steps else None
        released = self._kept(GAIN, point, self._released)
        clean = self.run.cell({"kind": "clean"}, lambda: self._clean(point))
        gains, clean_gains = (np.array(part["other"]) - np.array(part["own"]) for part in (released, clean))
        about = self.assets.seed, clean["documents"], clean["per_document"]
        shared = gain_mean(clean_gains, *about).lower > 0
        advantage = self._kept("attribute", point, self._attribute)["advantage"] if self.base.attribute else None
        return Second(
            attacks=tuple(Attacked.of(each) for each in attacks),
            contexts=tuple(Knowing.of(each) for each in contexts),
            lists=tuple(list_figure(each) for each in lists),
            gains=gains,
            documents=tuple(clean["documents"]),
            gain=gain_mean(gains, *about),
            share=share_of_gain(gains, clean_gains, *about) if shared else None,
            attribute=None if advantage is None else Figure(**advantage),
            decoder=point.measured.decoder,
            decoder_losses=losses,
            soft_prompt=prompt,
        )

    def missing(self, kinds: Sequence[str], points: Sequence[Point]) -> list[Part]:
        """Returns the measurements of those kinds that are not kept yet: parts that workers can make."""
        return [
            Part(f"{kind} of {point.name}", (kind, point))
            for point in points
            for kind in kinds
            if not self.run.has_cell({"kind": kind, "mechanism": point.mechanism()})
        ]

    def make(self, asked: object) -> None:
        """Makes a part of `missing` and keeps it, with what it needs."""
        assert isinstance(asked, tuple)
        kind, point = asked
        if kind != FIRST:
            point, _ = self._with_decoder(point)
        if kind == GAIN and self.train_steps:
            self._kept("soft prompt", point, self._train)
        if kind == GAIN:
            self.run.cell({"kind": "clean"}, lambda: self._clean(point))
        measures = {
            FIRST: self._first,
            "attacks": self._attacks,
            "contexts": self._contexts,
            "lists": self._lists,
            GAIN: self._released,
            "attribute": self._attribute,
        }
        self._kept(kind, point, measures[kind])

    @property
    def second_kinds(self) -> tuple[str, ...]:
        """The kinds of a point's second stage that do not wait for each other."""
        return ("attacks", "contexts", "lists", GAIN, *(["attribute"] if self.base.attribute else []))

    def _kept(self, kind: str, point: Point, measure: Callable[[Point], dict[str, Any]]) -> dict[str, Any]:
        """Returns a measurement: from its file where it is there, otherwise made, and kept under its settings' hash."""

        def made() -> dict[str, Any]:
            self.progress(f"{kind}: {point.name}")
            return measure(point)

        return self.run.cell({"kind": kind, "mechanism": point.mechanism()}, made)

    def _first(self, point: Point) -> dict[str, Any]:
        system, policy, assets = self._system(point), self.base.policy, self.assets
        spec, sizes = system.pipeline.spec, described_sizes(system.pipeline.spec)
        assert has_proof(spec)
        assert sizes is not None
        token = proved_guarantee(spec, "token", delta=self.delta)
        prompt = proved_guarantee(spec, "prompt", policy.prompt_tokens, self.delta, policy.sends)
        private = system.private(self.base.evaluation.attacked_tokens)
        sent = private.released(system.release("attacked release"))
        attacks = ladder(always_run(), depth=1)
        outcomes = {key: (attack, AttackReader(attack, system.public).read(sent)) for key, attack in attacks.items()}
        leakage = measure_leakage(
            outcomes, spec, system.pipeline.prior, assets.seed, longest=private.longest, sends=policy.sends
        )
        once = client_of(assets, system.pipeline, assets.seed, f"{NAME} information")
        told = information(
            public_of(assets, system.pipeline, assets.seed),
            once.release_tokens,
            assets.public,
            assets.public_groups,
            policy.prompt_tokens,
            assets.seed,
        )
        is_del = isinstance(point.measured.mechanism, DelMechanism)
        return First(
            token.epsilon if is_del else token.pure_epsilon,
            token.epsilon,
            token.pure_epsilon,
            prompt.epsilon,
            sizes.token_bits / 8,
            leakage.of("baseline").success,
            leakage.of("map").success,
            told,
        ).to_dict()

    def _attacks(self, point: Point) -> dict[str, Any]:
        """Reads with the whole ladder, as a certificate: attacks on contexts read one prompt per document.

        What each attack read is kept at once, since one may take minutes.
        """
        system, assets = self._system(point), self.assets
        plan, policy, public = point.measured.evaluation, self.base.policy, system.public
        private = system.private(plan.attacked_tokens)
        sent = private.released(system.release("attacked release"))
        some = sent.one_a_document(plan.context_prompts)
        attacks = ladder(plan.attacks, plan.masked_lm, trained_attackers(plan.attacks), depth=1)
        outcomes: dict[AttackName, tuple[InversionAttack, Outcome]] = {}
        for key, attack in attacks.items():
            read, part = AttackReader(attack, public).read, sent if attack.context_free else some
            name = json_sha256({"attack": key, "mechanism": point.mechanism()})[:NAME_DIGITS]
            outcomes[key] = attack, self.run.outcome(name, lambda read=read, part=part: read(part))  # type: ignore[misc]
        leakage = measure_leakage(
            outcomes,
            system.pipeline.spec,
            system.pipeline.prior,
            assets.seed,
            longest=private.longest,
            context_longest=policy.prompt_tokens,
            sends=policy.sends,
            meaning=Meaning(public.table, assets.language.tokenizer),
        )
        figures = []
        for each in leakage.attacks:
            assert each.meaning is not None
            assert each.meaning_above is not None
            alike = each.meaning, each.meaning_above
            figures.append(Attacked(each.key, each.name, each.version, each.success, each.above, *alike))
        return {"attacks": [asdict(each) for each in figures]}

    def _contexts(self, point: Point) -> dict[str, Any]:
        found = self._system(point).contexts()
        return {"contexts": [asdict(Knowing(c.context, c.success, c.without, c.lift)) for c in found]}

    def _lists(self, point: Point) -> dict[str, Any]:
        return {"lists": [asdict(each) for each in self._system(point).lists()]}

    def _attribute(self, point: Point) -> dict[str, Any]:
        alone = point.measured.model_copy(update={"task": None})
        found, _ = inferences_of(alone, self.assets, self._pipeline(point))
        assert found is not None
        return {"advantage": asdict(found.advantage)}

    def _released(self, point: Point) -> dict[str, Any]:
        system, language = self._system(point), self.assets.language
        prompts = system.prompts(self.base.evaluation.prompts)
        server = Server(language, system.pipeline, self._soft_prompt(point))
        with tqdm(total=2 * len(prompts), desc="gain", unit="text", leave=False) as bar:
            found = released_losses(server, prompts, bar)
        return {"own": found[RELEASED].tolist(), "other": found[OTHER].tolist()}

    def _clean(self, point: Point) -> dict[str, Any]:
        """Measures the clean prompts, which no mechanism touches: once for all points."""
        prompts = self._system(point).prompts(self.base.evaluation.prompts)
        with tqdm(total=2 * len(prompts), desc="clean gain", unit="text", leave=False) as bar:
            found = clean_losses(self.assets.language, prompts, bar)
        about = {"documents": prompts.numbers, "per_document": prompts.per_document}
        return {"own": found[CLEAN].tolist(), "other": found[OTHER_CLEAN].tolist(), **about}

    def _with_decoder(self, point: Point) -> tuple[Point, dict[str, float]]:
        """Returns the point with its decoder, and the losses on public text that chose it, nats a token."""
        fitting = [each for each in self.decoders if point.takes(each)]
        if not fitting:
            return point, {}
        losses = {
            each: self._kept(f"loss of {each}", point.decoded_by(each), self._held_out)["loss"] for each in fitting
        }
        return point.decoded_by(min(fitting, key=lambda each: losses[each])), dict(losses)

    def _held_out(self, point: Point) -> dict[str, Any]:
        return {"loss": held_out_loss(self._pipeline(point), self.base, self.assets)}

    def _train(self, point: Point) -> dict[str, Any]:
        prompt = self._soft_prompt(point)
        assert prompt is not None
        validation = [{"step": each["step"], "loss": each["loss"]} for each in prompt.card["validation"]]
        folder = self._trained(point).relative_to(self.run.folder)
        about = {"steps_done": prompt.card["steps_done"], "best_step": prompt.card["best_step"]}
        return {"folder": str(folder), "sha256": prompt.sha256, **about, "validation": validation}

    def _soft_prompt(self, point: Point) -> SoftPrompt | None:
        """Returns what the server's model reads first: the point's own, where points have one."""
        if not self.train_steps:
            return self.assets.soft_prompt
        return trained_for(self._pipeline(point), self.base, self.assets, self.train_steps, self._trained(point))

    def _trained(self, point: Point) -> Path:
        return self.run.trained({"soft prompt of": point.mechanism(), "steps": self.train_steps})

    def _system(self, point: Point) -> System:
        return System(point.measured, self.assets, self._pipeline(point), NAME)

    def _pipeline(self, point: Point) -> AnyPipeline:
        """Returns the point's pipeline; the last one is kept, since a table of a large vocabulary is large."""
        key = json_sha256({"mechanism": point.mechanism(), "decoder": point.measured.decoder})
        if key not in self._built:
            self._built.clear()
            language, public = self.assets.language, self.assets.public
            placed = with_clusters(point.measured, language, public, self.run.folder / "parts", self.progress)
            self._built[key] = build(placed, self.assets)
        return self._built[key]


@dataclass(frozen=True, slots=True)
class FrontierWork:
    """What a worker's bench is made of; fields as of FrontierBench. seed: the driver's."""

    base: Configuration
    delta: float
    decoders: tuple[DecoderName, ...]
    train_steps: int
    seed: int


def bench_in(folder: Path, about: FrontierWork) -> FrontierBench:
    """Returns a worker's bench, which keeps what it makes in a folder of its own; loads the assets."""
    run = Run(folder / "run", {"command": NAME})
    assets = load_assets(about.base, about.seed)
    return FrontierBench(about.base, assets, about.delta, run, about.decoders, about.train_steps)
