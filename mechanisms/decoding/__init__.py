"""Decoders: from released counts back to embeddings, at the server. All of it is post-processing: free of epsilon.

LanguagePosteriorDecoder, which needs the language model and with it torch, is in mechanisms.decoding.language.
"""

from mechanisms.decoding.linear import LinearDecoder
from mechanisms.decoding.mixed import MixedDecoder, MixSettings
from mechanisms.decoding.posterior import MostLikelyDecoder, PosteriorMeanDecoder
from mechanisms.decoding.protocols import Decoder, PooledDecoder, PromptDecoder, decode_prompts
from mechanisms.decoding.public_parts import CodeParts, MechanismParts, PublicParts

__all__ = [
    "CodeParts",
    "Decoder",
    "LinearDecoder",
    "MechanismParts",
    "MixSettings",
    "MixedDecoder",
    "MostLikelyDecoder",
    "PooledDecoder",
    "PosteriorMeanDecoder",
    "PromptDecoder",
    "PublicParts",
    "decode_prompts",
]
