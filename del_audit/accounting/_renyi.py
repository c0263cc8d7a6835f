"""Renyi divergences of pairs of binomials, without cancellation near order 1 and for probabilities close together."""

import numpy as np

from del_audit.accounting._density import Extended, Wide
from del_audit.accounting._pair import Pair

_SERIES_TERMS = 30
_NEAR = 0.05


def renyi_divergence(pair: Pair, order: Wide) -> Wide:
    """Returns the divergence of P from Q in nats at each order > 0, of the broadcast shape."""
    null = pair.r.astype(Extended) + pair.r_low
    success, failure = pair.span / null, -pair.span / (1 - null)  # likelihood ratios of one trial, less 1
    arrays = order, success, failure, null, pair.n.astype(Extended)
    order, success, failure, null, n = np.broadcast_arrays(*arrays)
    tilt = order - 1
    with np.errstate(all="ignore"):
        excess = null * _excess(order, success) + (1 - null) * _excess(order, failure)
        near = np.where(tilt == 0, excess, np.log1p(tilt * excess) / tilt)
        logs = (np.log(chance) + order * np.log1p(ratio) for chance, ratio in ((null, success), (1 - null, failure)))
        far = np.logaddexp(*logs) / tilt
    divergence: Wide = n * np.where(np.abs(tilt) * np.log1p(success) < 1, near, far)
    return divergence


def _excess(order: Wide, ratio: Wide) -> Wide:
    """Returns ((1 + y)^a - 1 - a y) / (a - 1) for order a and ratio y > -1: what a trial adds beyond its mean."""
    tilt, log_ratio = order - 1, np.log1p(ratio)
    direct = (1 + ratio) * np.where(tilt == 0, log_ratio, np.expm1(tilt * log_ratio) / tilt) - ratio
    small = np.abs(ratio) * np.maximum(order, 1) < _NEAR
    term = np.where(small, order * ratio**2 / 2, 0)
    series = term
    for k in range(3, _SERIES_TERMS):
        term = term * np.where(small, (order - k + 1) * ratio / k, 0)
        series = series + term
    excess: Wide = np.where(small, series, direct)
    return excess
