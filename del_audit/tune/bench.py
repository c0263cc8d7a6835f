"""Measurements of candidates, each made once: by the code that certifies, kept so that a killed run goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm import tqdm

from attacks.ladder import ladder
from attacks.names import AttackName
from del_audit.attack.store import Run
from del_audit.certificate.config import Configuration
from del_audit.certificate.evidence import inferences_of
from del_audit.certificate.inputs import (
    Assets,
    attacked_text,
    build,
    one_of_each_group,
    public_of,
    send_all,
)
from del_audit.certificate.provenance import sha256_of
from del_audit.certificate.reading import slices_of
from del_audit.evidence.figure import Figure
from del_audit.evidence.leakage import measure_leakage, run_ladder
from del_audit.evidence.prompts import cut_prompts
from del_audit.evidence.utility import paired_gain
from del_audit.trained_attackers import trained_attackers
from del_audit.tune.judge import ATTRIBUTE, TASK, Reading
from del_audit.tune.space import Candidate
from mechanisms.client import Client
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedWords
from mechanisms.server import Server
from mechanisms.soft_prompt import load_soft_prompt

KEY_DIGITS = 20


@dataclass(slots=True)
class MeasuringBench:
    """A bench over one part of the private split. name: of the part; it names its random draws and what is kept."""

    base: Configuration
    assets: Assets
    name: str
    run: Run
    progress: Callable[[str], None] = lambda said: None
    _built: dict[str, Pipeline] = field(default_factory=dict)

    def read(self, candidate: Candidate, attacks: Sequence[AttackName], documents: int) -> list[Reading]:
        """Returns what the attacks read of the first prompts of so many documents."""
        asked = {"attacks": list(attacks), "documents": documents}
        found = self._kept("attacks", candidate.channel, asked, self._read)
        return [_reading(each) for each in found["readings"]]

    def gain(self, candidate: Candidate, prompts: int) -> Figure:
        """Returns the paired gain over the first so many documents that are long enough."""
        return Figure(**self._kept("gain", candidate, {"prompts": prompts}, self._gain)["gain"])

    def others(self, candidate: Candidate) -> dict[str, Figure]:
        """Returns attribute advantage and task accuracy, as far as the policy limits them."""
        policy = self.base.policy
        if policy.attribute_advantage_at_most is None and policy.task_accuracy_at_least is None:
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
            self.progress(f"{kind}: {described(candidate)}")
            return {"settings": settings, **measure(candidate, asked)}

        return self.run.part(f"{kind}-{sha256_of(settings)[:KEY_DIGITS]}", made)

    def _read(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        plan, pipeline = self.base.evaluation, self._pipeline(candidate)
        tokens = asked["documents"] * plan.context_tokens
        sent = send_all(self.assets, pipeline, tokens, plan, f"{self.name} attacked release")
        some = sent.one_a_document(asked["documents"])
        attacks = ladder(asked["attacks"], plan.masked_lm, trained_attackers(asked["attacks"]), depth=1)
        outcomes = run_ladder(attacks, public_of(self.assets, pipeline, plan.seed), some)
        leakage = measure_leakage(outcomes, pipeline.spec, pipeline.prior, plan.seed)
        limited = self.base.policy.slice_success_at_most
        slices = slices_of(self.assets, leakage, pipeline, plan.seed) if limited else {}
        return {
            "readings": [
                {
                    "name": figures.name,
                    "context_free": attacks[figures.key].context_free,
                    "success": figures.success.to_dict(),
                    "worst_prompt": figures.worst.to_dict(),
                    "slices": {
                        part.name: part.success.to_dict()
                        for part in slices.get(figures.name, [])
                        if part.name in limited and part.success is not None
                    },
                }
                for figures in leakage.attacks
            ]
        }

    def _gain(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        plan, assets = self.base.evaluation, self._with_prompt(candidate)
        pipeline = self._pipeline(candidate)
        language = assets.language
        words = SimulatedWords(plan.seed, f"{self.name} prompts")
        client = Client(language.tokenizer, pipeline, language.context_tokens, words)
        documents = one_of_each_group(assets, plan.prompt_tokens + plan.response_tokens)
        cuts = cut_prompts(documents, plan.prompt_tokens, plan.response_tokens, limit=asked["prompts"])
        prompts = cuts.released(client.release_tokens)
        with tqdm(total=2 * len(prompts), desc="gain", unit="text", leave=False) as bar:
            figure = paired_gain(Server(language, pipeline, assets.soft_prompt), prompts, plan.seed, bar)
        return {"gain": figure.to_dict()}

    def _others(self, candidate: Candidate, asked: dict[str, Any]) -> dict[str, Any]:
        policy, assets, pipeline = self.base.policy, self._with_prompt(candidate), self._pipeline(candidate)
        figures: dict[str, Figure] = {}
        wanted = {
            "attribute": self.base.attribute if policy.attribute_advantage_at_most is not None else None,
            "task": self.base.task if policy.task_accuracy_at_least is not None else None,
        }
        attribute, task = inferences_of(candidate.configuration(self.base).model_copy(update=wanted), assets, pipeline)
        if attribute is not None:
            figures[ATTRIBUTE] = attribute.advantage
        if task is not None:
            figures[TASK] = task.accuracy
        return {"figures": {name: figure.to_dict() for name, figure in figures.items()}}

    def _pipeline(self, candidate: Candidate) -> Pipeline:
        """Returns the candidate's pipeline; the last one is kept, since a table of a large vocabulary is large."""
        key = sha256_of(candidate.to_dict())
        if key not in self._built:
            self._built.clear()
            configuration = candidate.configuration(self.base)
            spec = candidate.spec(self.base.mechanism.clip)
            self._built[key] = build(configuration, self._with_prompt(candidate), spec)
        return self._built[key]

    def _with_prompt(self, candidate: Candidate) -> Assets:
        """Returns the assets with the candidate's soft prompt."""
        name, language = candidate.soft_prompt, self.assets.language
        width = int(language.model.config.hidden_size)
        soft = None if name is None else load_soft_prompt(name, width, language.record)
        return replace(self.assets, soft_prompt=soft)


def certified_documents(configuration: Configuration, held_out: Assets) -> dict[bool, int]:
    """Returns how many held-out documents the certifier attacks, by whether an attack is context-free."""
    plan = configuration.evaluation
    _, documents = attacked_text(held_out, plan.attacked_tokens, plan.context_tokens)
    reached = len(set(documents))
    return {True: reached, False: min(reached, plan.context_prompts)}


def described(candidate: Candidate) -> str:
    """Returns one line for a person.

    >>> from del_audit.certificate.config import EncoderChoice
    >>> described(Candidate(4, 18, EncoderChoice(kind="corners"), "posterior-mean", None, 0.25))
    '4 bits, dim 18, scale 0.25, corners, posterior-mean, no soft prompt'
    """
    choice = candidate.encoder
    encoder = choice.projection or choice.codes or ("corners" if choice.kind == "corners" else _linear(choice))
    scale = "" if candidate.scale is None else f", scale {candidate.scale:.4g}"
    prompt = candidate.soft_prompt or "no soft prompt"
    return f"{candidate.bits} bits, dim {candidate.dim}{scale}, {encoder}, {candidate.decoder}, {prompt}"


def _linear(choice: Any) -> str:
    return f"linear (whitening {choice.whitening:g}, prior^{choice.prior_power:g}, fill {choice.fill:g})"


def _reading(found: Mapping[str, Any]) -> Reading:
    slices = {name: Figure(**fields) for name, fields in found["slices"].items()}
    success, worst = Figure(**found["success"]), Figure(**found["worst_prompt"])
    return Reading(found["name"], found["context_free"], success, worst, slices)
