"""The configuration's file: every key with what it is for, as somebody would write it who knows them all."""

import json
import re
from dataclasses import dataclass

import yaml

from del_audit.init.roles import Roles
from del_audit.init.sizes import ATTACK_LIMIT, EXPECTED, Sizes

MECHANISMS = ("words", "del")
PACKAGED, SHIPPED = "package:smollm2-135m-instruct", "shipped:smollm2-reviews"
"""A small model that stands in for the one that is served, and a soft prompt of it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that a file says. splits: names of the public and the private one. classes: of the attribute, kept."""

    name: str
    corpus: str
    roles: Roles
    splits: tuple[str, str]
    classes: int
    sizes: Sizes
    model: str = PACKAGED
    mechanism: str = MECHANISMS[0]
    public_share: float = 0.5


def yaml_of(proposal: Proposal) -> str:
    """Returns the file's text."""
    parts = [_head(proposal), _mechanism(proposal), _data(proposal), _measured(proposal), _policy(proposal)]
    return "\n".join(parts)


def _head(p: Proposal) -> str:
    stands_in = " # stands in: put the model here that you serve, a local folder or a hub name" if _packaged(p) else ""
    return f"""\
# Made by `del-audit init`. Every key: docs/configuration.md. Read it, change it, then: del-audit certify {p.name}.yaml
name: {p.name}

model: {_text(p.model)}{stands_in}
dtype: {"bfloat16" if _packaged(p) else "auto"} # the number format that your server runs; auto is that of its files
"""


def _mechanism(p: Proposal) -> str:
    if p.mechanism == "del":
        return """\
mechanism: # DEL: each token becomes 18 numbers, and each number 2 noisy bits
  bits: 2
  dim: 18
  clip: 0.05
  mu: 7.0 # larger is less noise: more utility, and attacks recover more
decoder: posterior-mean
""" + _soft_prompt(p)
    return """\
mechanism: # each token becomes one of 64 clusters of words, right or wrong by randomised response
  kind: coarse-words
  symbols: 64
  inner: {kind: randomized-response, epsilon: 4.0} # larger is less noise: more utility, and attacks recover more
decoder: most-likely
""" + _soft_prompt(p)


def _soft_prompt(p: Proposal) -> str:
    """Returns the key of the shipped soft prompt, which is of the packaged model, or how to train one."""
    if _packaged(p):
        return f"soft_prompt: {SHIPPED} # trained on drug reviews; `del-audit train prompt` trains one on your text\n"
    return (
        "# soft_prompt: out/prompt # made by `del-audit train prompt THIS.yaml --out out/prompt`. Without one a\n"
        "# released prompt can be worse for the server than none, which paired_gain_at_least refuses.\n"
    )


def _data(p: Proposal) -> str:
    lines = ["data:", f"  corpus: {_text(p.corpus)}", f"  text_column: {_text(p.roles.text)}"]
    if p.roles.person is not None:
        lines.append(f"  group_column: {_text(p.roles.person)} # whose each row is: intervals count people")
    else:
        lines.append("  # group_column: user # the column that says whose a row is, where somebody has several rows")
    if p.roles.split is not None:
        if p.roles.split != "split":
            lines.append(f"  split_column: {_text(p.roles.split)}")
        lines.append(f"  public_split: {_text(p.splits[0])} # fits the prior, the decoder and the attackers")
        lines.append(f"  private_split: {_text(p.splits[1])} # stands for your users: attacked and measured")
    else:
        by = "people" if p.roles.person is not None else "rows"
        lines.append(
            f"  public_share: {p.public_share} # of the {by}, drawn by hash: fits the attackers; the rest is attacked"
        )
    lines.append("")
    if p.roles.attribute is not None:
        lines.append(
            f"attribute: {{column: {_text(p.roles.attribute)}, classes: {p.classes}}} # must not leak of whole prompts"
        )
    if p.roles.task is not None:
        lines.append(f"task: {{column: {_text(p.roles.task)}}} # what the server is meant to tell")
    return "\n".join(lines) + "\n"


def _measured(p: Proposal) -> str:
    sizes = p.sizes
    enough = "enough" if sizes.people >= sizes.needed else "fewer, so the verdict may be inconclusive"
    return f"""\
# About {sizes.needed} people decide a limit of {ATTACK_LIMIT:.0%} if an attack recovers {EXPECTED:.0%} of the tokens.
# The private part has {sizes.people}: {enough}.
evaluation:
  prompts: {sizes.prompts}
  context_prompts: {sizes.contexts}
  response_tokens: {sizes.response}
  generations: {min(32, sizes.prompts)}
"""


def _policy(p: Proposal) -> str:
    least, bytes_per_token = (64, 9) if p.mechanism == "del" else (6, 2)
    leak = (
        "  # attribute_advantage_at_most: 0.3 # how far a probe may get from chance to certainty about the attribute\n"
        if p.roles.attribute is not None
        else ""
    )
    return f"""\
policy: # your limits. Choose them before you see a figure
  sends: 1 # each text is sent once; the client's ledger refuses more
  prompt_tokens: {p.sizes.prompt} # of the longest prompt
  epsilon: {{unit: token, tokens: 1, delta: 1.0e-5, at_most: {least}}} # proved, nats per token
  attack_success_at_most: {ATTACK_LIMIT} # share of tokens that the strongest attack may recover
  paired_gain_at_least: 0.0 # nats per token over another user's prompt: that anything useful arrives
  bytes_per_token_at_most: {bytes_per_token}
{leak}"""


def _packaged(p: Proposal) -> bool:
    return p.model == PACKAGED


def _text(value: str) -> str:
    """Returns a text as YAML that can only mean it."""
    if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


_PLAIN = re.compile(r"[A-Za-z_]([\w./:-]*\w)?", re.ASCII)
