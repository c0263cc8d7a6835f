"""Rivals of DEL on its interface, each from its own paper's definition. docs/rivals.md compares them.

InferDPT, which needs a local language model, is in mechanisms.rivals.inferdpt; nothing here imports torch.
"""

from mechanisms.rivals._description import RivalSpec
from mechanisms.rivals._points import Points
from mechanisms.rivals.custext import CusText, CusTextSpec
from mechanisms.rivals.exponential import Exponential, ExponentialSpec
from mechanisms.rivals.gaussian import Gaussian, GaussianSpec
from mechanisms.rivals.metric import Metric, MetricSpec
from mechanisms.rivals.randomized_response import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.rantext import RanText, RanTextSpec
from mechanisms.rivals.santext import SanText, SanTextSpec

__all__ = [
    "CusText",
    "CusTextSpec",
    "Exponential",
    "ExponentialSpec",
    "Gaussian",
    "GaussianSpec",
    "Metric",
    "MetricSpec",
    "Points",
    "RanText",
    "RanTextSpec",
    "RandomizedResponse",
    "RandomizedResponseSpec",
    "RivalSpec",
    "SanText",
    "SanTextSpec",
]
