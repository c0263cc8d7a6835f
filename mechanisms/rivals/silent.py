"""The reference of theorem 24: releases that tell nothing of a word, as the same mechanism would send them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mechanisms.randomness import RandomSource
from mechanisms.rivals._draws import WIDE
from mechanisms.rivals._message import renamed
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec
from mechanisms.rivals.projective_geometry import ProjectiveGeometry, ProjectiveGeometrySpec
from mechanisms.rivals.randomized_response import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.subset_selection import SubsetSelection, SubsetSelectionSpec

Spec = TypeVar("Spec", bound=SupportSpec)
Supported = RandomizedResponse | SubsetSelection | ProjectiveGeometry | CoarseWords


def silent_spec(spec: Spec) -> Spec:
    """Returns the spec whose release is uniform over all outputs, whatever the word, within 2^-63 in total variation.

    Raises TypeError for a description of another kind.
    """
    if isinstance(spec, RandomizedResponseSpec):
        return dataclasses.replace(spec, weight=WIDE // spec.words)
    if isinstance(spec, SubsetSelectionSpec | ProjectiveGeometrySpec):
        return dataclasses.replace(spec, inside=math.ceil(WIDE * spec.share))
    if isinstance(spec, CoarseWordsSpec):
        return dataclasses.replace(spec, inner=silent_spec(spec.inner))
    raise TypeError(type(spec).__name__)


@dataclass(frozen=True, slots=True)
class Silent:
    """A client whose messages read as those of `mechanism`, and tell nothing of what they are of."""

    mechanism: Supported

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns a message of as many tokens; raises UserError as the mechanism does."""
        own, silent = self.mechanism.spec, silent_spec(self.mechanism.spec)
        mechanism = self.mechanism
        if isinstance(mechanism, CoarseWords):
            assert isinstance(silent, CoarseWordsSpec)
            message = CoarseWords(silent, mechanism.symbols).release(tokens, source)
        else:
            message = type(mechanism)(silent).release(tokens, source)  # type: ignore[arg-type]  # its own kind of spec
        return renamed(message, silent.fingerprint, own.fingerprint)
