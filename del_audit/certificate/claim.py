"""What a verdict of certified claims, from the strongest to the weakest: a reader must not take it for more."""

from collections.abc import Sequence

from del_audit.certificate.model import Claim, Findings
from del_audit.configuration.verdict import Check, verdict_of

SMALL_EPSILON, SMALL_DELTA = 10.0, 1e-6
"""Of a whole prompt: what a formal claim needs."""
UNPROVED = "No guarantee of this mechanism is proved. "
"""What the claim says first where there is no epsilon."""
BLIND_LIMITS = {
    "attack_success_at_most",
    "meaning_success_at_most",
    "slice_success_at_most",
    "worst_prompt_success_at_most",
}
"""Of which a blind claim needs one."""


def claim_of(findings: Findings, checks: Sequence[Check]) -> Claim:
    """Returns the strongest claim that the findings support; none where the checks do not certify."""
    policy = findings.configuration.policy
    asked, proved = policy.asked(), "" if findings.guarantees else UNPROVED
    if (verdict := verdict_of(checks)) != "certified":
        return Claim(kind="none", says=f"No claim: the verdict is {verdict}.")
    tokens, sent = policy.prompt_tokens, "once" if policy.sends == 1 else f"{policy.sends} times"
    for row in findings.guarantees:
        whole = (row.unit, row.tokens, row.sends, row.kind) == ("prompt", tokens, policy.sends, "proved")
        if whole and row.delta <= SMALL_DELTA and row.epsilon.upper <= SMALL_EPSILON:
            return Claim(
                kind="formal",
                says=f"Formal: any two prompts of {tokens} tokens, each token sent {sent}, are told apart with epsilon "
                f"at most {row.epsilon.upper:.4g} at delta {row.delta:g} (proved), whatever the attacker knows.",
            )
    if {"context_success_at_most", "list_success_at_most"} <= set(asked):
        both = findings.knowing is not None and findings.knowing.context_both is not None
        known = "every other word of the prompt" if both else "the words before each token"
        return Claim(
            kind="context-aware",
            says=f"{proved}Context-aware: the limits hold against attackers who know {known} or hold a list of "
            f"candidate texts, and who hold every sending of a text, sent {sent} (estimate).",
        )
    if BLIND_LIMITS & set(asked):
        return Claim(
            kind="blind",
            says=f"{proved}Blind: the limits hold against attackers who know how common words are and a language "
            "model, and nothing else of the text (estimate).",
        )
    return Claim(kind="none", says=f"{proved}No claim about attackers: the policy does not limit what they recover.")
