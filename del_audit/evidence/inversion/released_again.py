"""The prompt that is read best, decided: a few private prompts, each released again and again with fresh noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attacks.outcome import Outcome
from attacks.registry import AttackName
from del_audit.configuration.configuration import Configuration
from del_audit.service.assets import Assets, client_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.releases import Releases
from del_audit.statistics.figure import Figure
from del_audit.statistics.worst_of_releases import worst_of_releases
from mechanisms.canonical_json import Json


@dataclass(frozen=True, slots=True)
class Worst:
    """success: share recovered of the prompt that is read best. above: a lower limit, corrected for all attacks."""

    success: Figure
    above: float

    def to_dict(self) -> dict[str, Json]:
        """Returns both as JSON values."""
        return {"success": self.success.to_dict(), "above": self.above}


def released_again(configuration: Configuration, assets: Assets, attacked: AnyPipeline, sent: Releases) -> Releases:
    """Returns the first `worst_prompts` of the prompts sent, each released `worst_releases` times, prompt by prompt."""
    plan = configuration.evaluation
    client = client_of(assets, attacked, assets.seed, "worst prompts")
    prompts = list(sent.truths[: plan.worst_prompts])
    truths = [prompt for prompt in prompts for _ in range(plan.worst_releases)]
    names = [document for document in sent.documents[: plan.worst_prompts] for _ in range(plan.worst_releases)]
    return Releases([client.release_tokens(prompt) for prompt in truths], truths, names)


def measure_worst(outcomes: Mapping[AttackName, Outcome], releases: int) -> dict[AttackName, Worst]:
    """Returns each attack's figure of `released_again`; releases: of each prompt."""
    found = {}
    for key, outcome in outcomes.items():
        prompt, release = np.divmod(outcome.prompt, releases)
        together = 1 - 0.05 / len(outcomes)
        own = worst_of_releases(outcome.hits, prompt, release)
        shared = worst_of_releases(outcome.hits, prompt, release, together)
        found[key] = Worst(own, shared.lower)
    return found
