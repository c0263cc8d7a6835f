"""What a configuration needs of its model and its texts, before the first attack: sizes, labels and names are enough.

Each function raises UserError where something is missing that would end the run minutes or hours later.
"""

from collections.abc import Mapping, Sequence

from attacks.attribute.probes import require_groups
from attacks.base import Demanding, InversionAttack
from attacks.ladder import ladder
from attacks.registry import AttackName
from attacks.self_test import PROMPTS, require_documents
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.policy import Policy
from del_audit.evidence.inversion.slices import has_words, slice_names
from del_audit.service.assets import Assets
from del_audit.service.pipelines import encoder_of
from del_audit.service.private_text import answered_prompts, classes_of, labelled_rows
from del_audit.service.shown_prompt import SHOWN_TOKENS
from mechanisms.errors import UserError
from mechanisms.model_facts import opening_tokens, words_of
from mechanisms.models import load_embedding_table
from mechanisms.projection import require_width


def require_ready(configuration: Configuration, assets: Assets) -> None:
    """Raises UserError unless everything that certify will measure can be measured with these assets."""
    plan, policy = configuration.evaluation, configuration.policy
    require_encoder(configuration, assets)
    require_texts(assets)
    require_slices(policy, assets)
    require_room(configuration, assets)
    answered_prompts(configuration, assets)
    require_columns(configuration, assets)
    require_attacks(ladder(plan.attacks, plan.masked_lm, depth=1), assets, policy.prompt_tokens)


def require_encoder(configuration: Configuration, assets: Assets) -> None:
    """Raises UserError for an encoder that is missing, damaged, or of another model or quantizer."""
    if not isinstance(configuration.mechanism, DelMechanism):
        return
    choice, spec, language = configuration.encoder, configuration.mechanism.spec(), assets.language
    if choice.projection is None and choice.codes is None:
        require_width(choice.settings(), spec.dim, language.width)
    else:
        encoder_of(choice, language, load_embedding_table(configuration.model, language), spec)


def require_texts(assets: Assets) -> None:
    """Raises UserError for a public part without a word, and for private text of fewer than two units."""
    if not has_words(assets.public_corpus.texts):
        raise UserError(
            "Expected public text with at least one word, which names are told apart by, got none. Check "
            "data.public_split and data.text_column."
        )
    written = {group for group, tokens in zip(assets.private_groups, assets.private, strict=True) if tokens}
    if len(written) < 2:
        raise UserError(
            f"Expected private text of two documents or groups at least, since intervals count them, got "
            f"{len(written)}. Check data.private_split and data.group_column."
        )


def require_slices(policy: Policy, assets: Assets) -> None:
    """Raises UserError for a limit on a slice that this vocabulary does not have."""
    there = slice_names(words_of(assets.language.model))
    for name in policy.slice_success_at_most:
        if name not in there:
            raise UserError(f"Expected policy.slice_success_at_most among {', '.join(there)}, got {name!r}.")


def require_room(configuration: Configuration, assets: Assets) -> None:
    """Raises UserError where what the server or an attacker reads does not fit the model's context."""
    plan, prompt, limit = configuration.evaluation, configuration.policy.prompt_tokens, assets.language.context_tokens
    opening = len(opening_tokens(assets.language.model))
    virtual = opening if assets.soft_prompt is None else len(assets.soft_prompt.vectors)
    first = max(virtual, opening)
    behind, name = max(
        (plan.response_tokens, "evaluation.response_tokens"), (plan.generated_tokens, "evaluation.generated_tokens")
    )
    if first + prompt + behind > limit:
        raise UserError(
            f"Expected {first} virtual or opening tokens, policy.prompt_tokens and {name} of at most {limit} together, "
            f"the model's context, got {first} + {prompt} + {behind} = {first + prompt + behind}. Lower "
            f"policy.prompt_tokens or {name}."
        )
    if opening + SHOWN_TOKENS > limit:
        raise UserError(
            f"Expected a model with a context of {opening + SHOWN_TOKENS} tokens at least, which attacks read of the "
            f"prompt that a report shows, got {limit}. Choose another model."
        )


def require_columns(configuration: Configuration, assets: Assets) -> None:
    """Raises UserError where the attribute or the task cannot be learnt from the public part and told in the other."""
    for choice, classes in (
        (configuration.attribute, classes_of(configuration.attribute, assets) if configuration.attribute else None),
        (configuration.task, None),
    ):
        if choice is None:
            continue
        public, private = labelled_rows(assets, choice.column, classes)
        require_classes(
            choice.column,
            [public.labels[row] for row in public.rows],
            [assets.public_groups[row] for row in public.rows],
            [private.labels[row] for row in private.rows],
        )


def require_classes(column: str, public: Sequence[str], groups: Sequence[str], private: Sequence[str]) -> None:
    """Raises UserError for one class, one of too few public documents or groups to cross-validate, or in one part only.

    public, private: label of each row that is measured. groups: whose each public row is.
    """
    classes = sorted(set(public))
    if len(classes) < 2:
        raise UserError(
            f"Expected public rows of two classes or more in the column {column!r}, got {classes}. Choose another "
            "column, or check data.public_split."
        )
    require_groups(public, groups, f"the column {column!r}")
    if missing := sorted(set(classes) ^ set(private)):
        part = "public" if missing[0] in classes else "private"
        raise UserError(
            f"Expected the same classes of the column {column!r} in both splits, got {missing[0]!r} in the {part} one "
            "only. Split the corpus so that each class is in both, or leave rows of that class without a label."
        )


def require_attacks(attacks: Mapping[AttackName, InversionAttack], assets: Assets, prompt_tokens: int) -> None:
    """Raises UserError where the self-tests or an attack lack public text, a model or room."""
    shown = set(require_documents(assets.public)[-PROMPTS:])  # of the self-test, in which nothing is fitted on them
    rest = [tokens for row, tokens in enumerate(assets.public) if row not in shown]
    for attack in attacks.values():
        if isinstance(attack, Demanding):
            attack.require(assets.language, rest, max(prompt_tokens, SHOWN_TOKENS))
