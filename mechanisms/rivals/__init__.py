"""Rivals of DEL on its interface, each from its own paper's definition. docs/rivals.md compares them.

InferDPT, which needs a local language model, is in mechanisms.rivals.inferdpt; nothing here imports torch.
"""

from mechanisms.rivals._description import RivalSpec
from mechanisms.rivals._message import MessageFormat
from mechanisms.rivals._points import Points
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec
from mechanisms.rivals.custext import CusText, CusTextSpec
from mechanisms.rivals.dp_mlm import DpMlm, DpMlmSpec
from mechanisms.rivals.dp_prompt import DpPrompt, DpPromptSpec
from mechanisms.rivals.exponential import Exponential, ExponentialSpec
from mechanisms.rivals.gaussian import Gaussian, GaussianSpec
from mechanisms.rivals.metric import Metric, MetricSpec
from mechanisms.rivals.projective_geometry import ProjectiveGeometry, ProjectiveGeometrySpec
from mechanisms.rivals.randomized_response import RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.rantext import RanText, RanTextSpec
from mechanisms.rivals.santext import SanText, SanTextSpec
from mechanisms.rivals.subset_selection import SubsetSelection, SubsetSelectionSpec

__all__ = [
    "CoarseWords",
    "CoarseWordsSpec",
    "CusText",
    "CusTextSpec",
    "DpMlm",
    "DpMlmSpec",
    "DpPrompt",
    "DpPromptSpec",
    "Exponential",
    "ExponentialSpec",
    "Gaussian",
    "GaussianSpec",
    "MessageFormat",
    "Metric",
    "MetricSpec",
    "Points",
    "ProjectiveGeometry",
    "ProjectiveGeometrySpec",
    "RanText",
    "RanTextSpec",
    "RandomizedResponse",
    "RandomizedResponseSpec",
    "RivalSpec",
    "SanText",
    "SanTextSpec",
    "SubsetSelection",
    "SubsetSelectionSpec",
]
