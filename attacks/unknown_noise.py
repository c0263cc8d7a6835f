"""An attacker who is not told how much noise there is: its amount is estimated from the releases themselves.

This is BeamClean's setting (arXiv 2505.13758), with one parameter to estimate. A few hundred tokens show it to within a
step or two of the grid, and then every attack runs as usual.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel, exponentiate
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.spec import QuantizerSpec

MUS = tuple(float(mu) for mu in 2.0 ** np.arange(-1, 6.25, 0.25))
"""A grid of noise levels, a quarter of a doubling apart, from 1/2 to 64."""


def estimated_spec(
    spec: QuantizerSpec,
    codes: NDArray[np.float32],
    log_prior: NDArray[np.float64],
    counts: Observed,
    mus: Sequence[float] = MUS,
) -> QuantizerSpec:
    """Returns the quantizer of the mu under which the released counts are likeliest, of those in `mus`.

    Each token is one word of the prior, by itself: P(counts) = sum of prior(word) P(counts | word). spec: its bits, dim
    and clip are known, its scale is not looked at. codes: of all words, shape (words, dim). counts: what was released,
    shape (tokens, dim). Raises UserError for no counts and no mus, and as QuantizerSpec.from_mu does.
    """
    if not len(counts) or not mus:
        raise UserError(f"Expected counts and mus, at least one each, got {len(counts)} and {len(mus)}.")
    specs = [QuantizerSpec.from_mu(spec.bits, spec.dim, spec.clip, mu) for mu in mus]
    return max(specs, key=lambda one: _log_likelihood(Channel.of(one, codes), log_prior, counts))


def _log_likelihood(channel: Channel, log_prior: NDArray[np.float64], counts: Observed) -> float:
    """Returns the log-likelihood of the counts less a constant that no scale changes."""
    total = 0.0
    for _, block in channel.scores(counts, log_prior):
        largest = block.max(axis=1)
        sums, _ = exponentiate(block)
        total += float((largest + np.log(sums)).sum(dtype=np.float64))
    return total
