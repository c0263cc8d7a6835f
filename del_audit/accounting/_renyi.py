"""Renyi divergences of pairs of binomials, without cancellation near order 1 and for probabilities close together."""

import numpy as np

from del_audit.accounting._density import Extended, Wide
from del_audit.accounting._pair import Pair

_SERIES_TERMS = 30
_NEAR = 0.05


def renyi_divergence(pair: Pair, order: Wide) -> Wide:
    """Returns the divergence of P from Q in nats at each order > 0, of the broadcast shape."""
    chance, null = (high.astype(Extended) + low for high, low in ((pair.p, pair.p_low), (pair.r, pair.r_low)))
    rest, null_rest = ((1 - high.astype(Extended)) - low for high, low in ((pair.p, pair.p_low), (pair.r, pair.r_low)))
    n, order = pair.n.astype(Extended), np.asarray(order, dtype=Extended)
    tilt = order - 1
    with np.errstate(all="ignore"):
        success, failure = pair.span / null, -pair.span / null_rest  # likelihood ratios of one trial, less 1
        log_success = np.where(success < 0.5, np.log1p(success), np.log(chance / null))
        log_failure = np.where(failure > -0.5, np.log1p(failure), np.log(rest / null_rest))
        excess = null * _excess(order, success, log_success) + null_rest * _excess(order, failure, log_failure)
        near = np.where(tilt == 0, excess, np.log1p(tilt * excess) / tilt)
        far = np.logaddexp(np.log(null) + order * log_success, np.log(null_rest) + order * log_failure) / tilt
    divergence: Wide = n * np.where(np.abs(tilt) * log_success < 1, near, far)
    return divergence


def _excess(order: Wide, ratio: Wide, log_ratio: Wide) -> Wide:
    """Returns ((1 + y)^a - 1 - a y) / (a - 1) for order a and y > -1 with its log(1 + y), free of cancellation."""
    tilt = order - 1
    direct = np.exp(log_ratio) * np.where(tilt == 0, log_ratio, np.expm1(tilt * log_ratio) / tilt) - ratio
    small = np.abs(ratio) * np.maximum(order, 1) < _NEAR
    term = np.where(small, order * ratio**2 / 2, 0)
    series = term
    for k in range(3, _SERIES_TERMS):
        term = term * np.where(small, (order - k + 1) * ratio / k, 0)
        series = series + term
    excess: Wide = np.where(small, series, direct)
    return excess
