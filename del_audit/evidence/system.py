"""One pipeline over some private text, measured by the code that certifies: for searches and comparisons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attacks.base import AttackerKnowledge
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.candidate_list import LISTED, ListFigure, private_lists
from del_audit.evidence.inversion.readers import ADAPTED, adapted_beam, equipment
from del_audit.evidence.known_context import ContextFigures, known_contexts
from del_audit.service.assets import Assets, at_sends, client_of, public_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.private_text import attacked_prompts, one_of_each_group
from del_audit.service.prompts import Prompts, cut_prompts
from del_audit.service.releases import PrivatePrompts


@dataclass(frozen=True, slots=True)
class System:
    """What is measured, by the plan and the policy of a configuration. name: names its random draws."""

    configuration: Configuration
    assets: Assets
    pipeline: AnyPipeline
    name: str

    @property
    def attacked(self) -> AnyPipeline:
        """The pipeline at the policy's sends: what an attacker holds releases of."""
        return at_sends(self.pipeline, self.configuration.policy.sends)

    @property
    def public(self) -> AttackerKnowledge:
        """All that an attacker knows."""
        return public_of(self.assets, self.attacked, self.assets.seed)

    def release(self, purpose: str) -> Callable[[Sequence[int]], bytes]:
        """Returns the attacked pipeline's client; purpose: names its draws."""
        return client_of(self.assets, self.attacked, self.assets.seed, f"{self.name} {purpose}").release_tokens

    def private(self, tokens: int) -> PrivatePrompts:
        """Returns private prompts of so many tokens together, or fewer."""
        return attacked_prompts(self.assets, tokens, self.configuration.policy.prompt_tokens)

    def lists(self) -> tuple[ListFigure, ...]:
        """Returns how often a private text is picked out of lists; nothing where too few are long enough."""
        client = client_of(self.assets, self.attacked, self.assets.seed, f"{self.name} {LISTED}")
        return private_lists(self.assets, client, self.public, self.configuration.policy.prompt_tokens)

    def contexts(self) -> tuple[ContextFigures, ContextFigures]:
        """Returns what who knows the left side recovers, and who knows both.

        They read with the language model that a certificate's attackers read with: adapted, if an attack adapts it.
        """
        plan, policy, public = self.configuration.evaluation, self.configuration.policy, self.public
        _, knowledge = equipment(adapted_beam().fit(public), public) if ADAPTED in plan.attacks else ("", public)
        sent = self.private(plan.attacked_tokens).released(self.release("release to who knows the context"))
        return known_contexts(knowledge, sent, policy.prompt_tokens, self.assets.seed, policy.sends)

    def prompts(self, count: int) -> Prompts:
        """Returns the first so many prompts, one per group, as the client sends them once."""
        cut, response = self.configuration.policy.prompt_tokens, self.configuration.evaluation.response_tokens
        client = client_of(self.assets, self.pipeline, self.assets.seed, f"{self.name} prompts")
        cuts = cut_prompts(one_of_each_group(self.assets, cut + response), cut, response, limit=count)
        return cuts.released(client.release_tokens)
