"""Measurements of candidates, each made once: by the code that certifies, kept so that a killed run goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tqdm import tqdm

from attacks.base import AttackerKnowledge, InversionAttack
from attacks.ladder import ladder, trained_attackers
from attacks.registry import AttackName, without_codes
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.limits import Evidence
from del_audit.configuration.mechanisms import LARGEST_EPSILON, CoarseWordsMechanism
from del_audit.evidence.candidate_list import ListFigure
from del_audit.evidence.inferences import inferences_of
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.meaning import Meaning
from del_audit.evidence.inversion.readers import read_all
from del_audit.evidence.inversion.readings import slices_of
from del_audit.evidence.inversion.released_again import Worst, measure_worst, released_again
from del_audit.evidence.system import System
from del_audit.evidence.utility import measure_prediction, paired_gain
from del_audit.runs import Parts
from del_audit.service.assets import Assets, build
from del_audit.service.clusters import with_clusters
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.private_text import attacked_prompts
from del_audit.service.releases import Releases
from del_audit.statistics.figure import Figure
from del_audit.tune.channels import DelChannel, WordChannel
from del_audit.tune.judge import ATTRIBUTE, SHARE, TASK, TASK_OVER, Reading
from del_audit.tune.space import Candidate
from mechanisms.hashes import json_sha256
from mechanisms.server import Server
from mechanisms.soft_prompt import load_soft_prompt

KEY_DIGITS = 20


class NotMeasuredError(Exception):
    """A measurement is asked for that is not finished."""


@dataclass(slots=True)
class MeasuringBench:
    """A bench over one part of the private split. name: of the part; it names its random draws and what is kept.

    measures: False for a bench that only looks up what is finished, and raises NotMeasuredError for the rest.
    """

    base: Configuration
    assets: Assets
    name: str
    run: Parts
    progress: Callable[[str], None] = lambda said: None
    measures: bool = True
    _built: dict[str, AnyPipeline] = field(default_factory=dict)

    def clustered(self, candidate: Candidate) -> Candidate:
        """Returns the candidate over as many clusters as there are: fewer than asked for where words are alike."""
        channel = candidate.channel
        if not isinstance(channel, WordChannel) or candidate.unreadable:
            return candidate
        placed = self._placed(candidate.at(LARGEST_EPSILON)).mechanism
        if not isinstance(placed, CoarseWordsMechanism):
            return candidate
        return candidate.through(replace(channel, inputs=placed.symbols))

    def read(self, candidate: Candidate, attacks: Sequence[AttackName], documents: int) -> list[Reading]:
        """Returns what the attacks read of the first prompts of so many documents."""
        asked = {"attacks": list(attacks), "documents": documents}
        found = self._kept("attacks", candidate.undecoded, asked, self._read)
        return [_reading(each) for each in found["readings"]]

    def lists(self, candidate: Candidate) -> tuple[ListFigure, ...] | None:
        """Returns how often a text is picked out of lists; None where the policy does not limit it."""
        if not self.base.policy.needs("lists"):
            return None
        found = self._kept("lists", candidate.undecoded, {}, self._lists)
        return tuple(ListFigure(**{**fields, "success": Figure(**fields["success"])}) for fields in found["lists"])

    def contexts(self, candidate: Candidate) -> dict[str, Figure]:
        """Returns what who knows the context recovers, by the sides known; nothing where the policy limits none."""
        if not self.base.policy.needs("context"):
            return {}
        found = self._kept("contexts", candidate.undecoded, {}, self._contexts)
        return {sides: Figure(**fields) for sides, fields in found["contexts"].items()}

    def gain(self, candidate: Candidate, prompts: int) -> Figure:
        """Returns the paired gain over the first so many documents that are long enough."""
        return Figure(**self._kept("gain", candidate, {"prompts": prompts}, self._gain)["gain"])

    def others(self, candidate: Candidate) -> dict[str, Figure]:
        """Returns the other figures that the policy limits: attribute, task, and the gain over further controls."""
        if not self.base.policy.needs("attribute", "task", "gains"):
            return {}
        found = self._kept("others", candidate, {}, self._others)
        return {name: Figure(**fields) for name, fields in found["figures"].items()}

    def _kept(
        self,
        kind: str,
        candidate: Candidate,
        asked: dict[str, Any],
        measure: "Callable[[Candidate, dict[str, Any]], dict[str, Any]]",
    ) -> dict[str, Any]:
        """Returns a measurement: from its file where it is there, otherwise made, and kept under its settings' hash."""
        settings = {"kind": kind, "part": self.name, "candidate": candidate.to_dict(), **asked}

        def made() -> dict[str, Any]:
            if not self.measures:
                raise NotMeasuredError(kind)
            self.progress(f"{kind}: {candidate.described()}")
            return {"settings": settings, **measure(candidate, asked)}

        return self.run.part(f"{kind}-{json_sha256(settings)[:KEY_DIGITS]}", made)

    def _read(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        plan, policy, assets, system = self.base.evaluation, self.base.policy, self.assets, self._system(candidate)
        attacked, public = system.attacked, system.public
        sent = system.private(asked["documents"] * policy.prompt_tokens).released(system.release("attacked release"))
        some = sent.one_a_document(asked["documents"])
        named = asked["attacks"] if isinstance(candidate.channel, DelChannel) else without_codes(asked["attacks"])
        attacks = ladder(named, plan.masked_lm, trained_attackers(named), depth=1)
        outcomes = read_all(attacks, public, some)
        limited_meaning = policy.meaning_success_at_most is not None
        leakage = measure_leakage(
            outcomes,
            attacked.spec,
            attacked.prior,
            assets.seed,
            longest=policy.prompt_tokens,
            sends=policy.sends,
            meaning=Meaning(public.table, assets.language.tokenizer) if limited_meaning else None,
        )
        limited = policy.slice_success_at_most
        slices = slices_of(assets, leakage, attacked, policy.prompt_tokens, policy.prompt_tokens) if limited else {}
        worst = self._worst(attacked, attacks, public, some)
        return {
            "readings": [
                {
                    "name": figures.name,
                    "context_free": attacks[figures.key].context_free,
                    "success": figures.success.to_dict(),
                    "above": figures.above,
                    "meaning": figures.meaning.to_dict() if figures.meaning else None,
                    "meaning_above": figures.meaning_above,
                    "worst_prompt": figures.worst.to_dict(),
                    "worst_of_releases": worst[figures.key].success.to_dict() if worst else None,
                    "slices": {
                        part.name: part.success.to_dict()
                        for part in slices.get(figures.key, [])
                        if part.name in limited and part.success is not None
                    },
                }
                for figures in leakage.attacks
            ]
        }

    def _worst(
        self,
        attacked: AnyPipeline,
        attacks: Mapping[AttackName, InversionAttack],
        public: AttackerKnowledge,
        sent: Releases,
    ) -> dict[AttackName, Worst]:
        """Returns the worst prompt over repeated releases, as a certificate measures it; nothing without a limit."""
        if not self.base.policy.needs("releases"):
            return {}
        again = released_again(self.base, self.assets, attacked, sent)
        outcomes = read_all(attacks, public, again)
        return measure_worst({key: read for key, (_, read) in outcomes.items()}, self.base.evaluation.worst_releases)

    def _lists(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        return {"lists": [asdict(each) for each in self._system(candidate).lists()]}

    def _contexts(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        return {"contexts": {each.context: each.success.to_dict() for each in self._system(candidate).contexts()}}

    def _gain(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        assets, system = self._with_prompt(candidate), self._system(candidate)
        prompts = system.prompts(asked["prompts"])
        server = Server(assets.language, system.pipeline, assets.soft_prompt)
        with tqdm(total=2 * len(prompts), desc="gain", unit="text", leave=False) as bar:
            return {"gain": paired_gain(server, prompts, assets.seed, bar).to_dict()}

    def _others(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        assets, pipeline = self._with_prompt(candidate), self._pipeline(candidate)
        figures: dict[str, Figure] = {}
        attribute, task = inferences_of(with_limited_columns(candidate.configuration(self.base)), assets, pipeline)
        if attribute is not None:
            figures[ATTRIBUTE] = attribute.advantage
        if task is not None:
            figures |= {TASK: task.accuracy, TASK_OVER: task.figures.over_majority}
        if self.base.policy.needs("gains"):
            prompts = self._system(candidate).prompts(self.base.evaluation.prompts)
            server = Server(assets.language, pipeline, assets.soft_prompt)
            with tqdm(total=6 * len(prompts), desc="controls", unit="text", leave=False) as bar:
                found = measure_prediction(assets.language, server, prompts, assets.seed, bar)
            figures |= found.over | ({SHARE: found.share} if found.share else {})
        return {"figures": {name: figure.to_dict() for name, figure in figures.items()}}

    def _system(self, candidate: Candidate) -> System:
        return System(self.base, self.assets, self._pipeline(candidate), self.name)

    def _pipeline(self, candidate: Candidate) -> AnyPipeline:
        """Returns the candidate's pipeline; the last one is kept, since a table of a large vocabulary is large."""
        key = json_sha256(candidate.to_dict())
        if key not in self._built:
            self._built.clear()
            self._built[key] = build(self._placed(candidate), self._with_prompt(candidate))
        return self._built[key]

    def _placed(self, candidate: Candidate) -> Configuration:
        """Returns the candidate's configuration with the file of its clusters."""
        configuration, folder = candidate.configuration(self.base), self.run.folder / "parts"
        return with_clusters(configuration, self.assets.language, self.assets.public, folder, self.progress)

    def _with_prompt(self, candidate: Candidate) -> Assets:
        """Returns the assets with the candidate's soft prompt."""
        name, language = candidate.soft_prompt, self.assets.language
        width = language.width
        soft = None if name is None else load_soft_prompt(name, width, language.record)
        return replace(self.assets, soft_prompt=soft)


def with_limited_columns(configuration: Configuration) -> Configuration:
    """Returns the configuration without an attribute or a task that no limit needs."""
    columns: tuple[Evidence, ...] = ("attribute", "task")
    return configuration.model_copy(update={name: None for name in columns if not configuration.policy.needs(name)})


def certified_documents(configuration: Configuration, held_out: Assets) -> dict[bool, int]:
    """Returns how many held-out documents the certifier attacks, by whether an attack is context-free."""
    plan = configuration.evaluation
    attacked = attacked_prompts(held_out, plan.attacked_tokens, configuration.policy.prompt_tokens)
    reached = len(set(attacked.units))
    return {True: reached, False: min(reached, plan.context_prompts)}


def _reading(found: Mapping[str, Any]) -> Reading:
    slices = {name: Figure(**fields) for name, fields in found["slices"].items()}
    success, worst = Figure(**found["success"]), Figure(**found["worst_prompt"])
    again, meaning = (Figure(**each) if each else None for each in (found["worst_of_releases"], found["meaning"]))
    return Reading(
        found["name"],
        found["context_free"],
        success,
        worst,
        slices,
        found["above"],
        again,
        meaning,
        found["meaning_above"],
    )
