"""A configuration with another mechanism than its own: what stays of it, and what the other one cannot have."""

from typing import Any

from attacks.registry import without_codes
from del_audit.configuration.configuration import Configuration
from del_audit.configuration.mechanisms import DelMechanism
from mechanisms.errors import UserError
from mechanisms.registry import DECODERS, DecoderName

FALLBACK = "posterior-mean"
"""The decoder of a mechanism without codes where the configuration's reads DEL's codes."""


def own_quantizer(base: Configuration) -> DelMechanism:
    """Returns the quantizer that `del` stands for among names of mechanisms; raises UserError where there is none."""
    try:
        return base.quantizer("del among --mechanisms")
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}. Leave del out of --mechanisms.") from None


def decoder_without_codes(base: Configuration) -> DecoderName:
    """Returns the configuration's decoder, or FALLBACK where that reads DEL's codes."""
    return FALLBACK if DECODERS[base.decoder].codes else base.decoder


def content_over_words(base: Configuration) -> dict[str, Any]:
    """Returns the content for a mechanism over words, which is to be added: no encoder, no attack on codes, no bits."""
    content = base.model_dump(mode="json", exclude_unset=True)
    content.pop("encoder", None)
    evaluation = {
        name: value
        for name, value in content.get("evaluation", {}).items()
        if name not in ("other_bits", "other_prompts")
    }
    attacks = without_codes(base.evaluation.attacks)
    return {**content, "decoder": decoder_without_codes(base), "evaluation": {**evaluation, "attacks": attacks}}
