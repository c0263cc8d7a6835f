"""One evaluation for DEL and every rival: it is given messages and a server, and measures all conditions alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.diversity import distinct
from del_audit.evidence.mauve import Mauve, measure_mauve
from del_audit.evidence.utility import (
    OTHER,
    RELEASED,
    Answering,
    Prediction,
    coherences,
    condition_answers,
    condition_losses,
    mean_cosine,
    predict,
    references,
)
from del_audit.service.prompts import Prompts
from del_audit.statistics.bootstrap import bootstrap_ratio
from del_audit.statistics.comparison import Comparison, compare
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_mean
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel, SentenceEncoder
from mechanisms.progress import Progress

Metric = Literal["prediction", "coherence", "distinct", "mauve"]
REFERENCE = "true response"
NGRAMS = (1, 2, 3)
LOSSES = 6
"""Conditions that are scored, and updates of progress a prompt for them."""
ANSWERS = 5
"""Conditions that are written, and updates of progress a prompt for them."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one mechanism's release is still good for, every value kept, so that every figure can be computed again.

    sample: names the prompts; mechanisms with the same one are paired. documents: of each prompt, numbered.
    prompt_tokens, response_tokens: lengths of each. losses: nats a token of the true response, shape (prompts,), for
    each condition. texts: what is written in each condition, and the true response. cosines: of each condition's
    text with the true response. mauve: of each condition's texts. What was not asked for is empty.
    new_tokens: the longest text. per_document: the most prompts that one document can have. seed: of the sampled text
    and of every interval.
    """

    name: str
    sample: str
    seed: int
    new_tokens: int
    documents: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    response_tokens: tuple[int, ...]
    losses: Mapping[str, NDArray[np.float64]]
    texts: Mapping[str, tuple[str, ...]]
    cosines: Mapping[str, NDArray[np.float64]]
    mauve: Mapping[str, Mauve]
    per_document: int = 1

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def gains(self) -> NDArray[np.float64]:
        """The headline before its mean: loss with another user's prompt less loss with one's own, shape (prompts,)."""
        self._require(bool(self.losses), "prediction")
        return np.asarray(self.losses[OTHER] - self.losses[RELEASED])

    @property
    def prediction(self) -> Prediction:
        """Losses in every condition, the paired gain, and its share of the clean gain."""
        self._require(bool(self.losses), "prediction")
        return predict(self.losses, self.documents, self.seed, self.per_document)

    @property
    def perplexities(self) -> dict[str, Figure]:
        """Perplexity of the true responses in each condition: exp of the loss a token over all tokens together."""
        self._require(bool(self.losses), "prediction")
        tokens = np.array(self.response_tokens, dtype=np.float64)
        return {
            name: bootstrap_ratio(values * tokens, tokens, "", "prompts", self.seed, clusters=self.documents).mapped(
                lambda loss: float(np.exp(max(loss, 0.0))), "perplexity a token"
            )
            for name, values in self.losses.items()
        }

    @property
    def coherence(self) -> dict[str, Figure]:
        """Mean cosine with the true response in each condition."""
        self._require(bool(self.cosines), "coherence")
        return {
            name: mean_cosine(values, self.documents, self.seed, self.per_document)
            for name, values in self.cosines.items()
        }

    @property
    def coherence_gain(self) -> Figure:
        """Cosine with one's own prompt less cosine with another user's, paired by prompt."""
        self._require(bool(self.cosines), "coherence")
        gains = np.clip(self.cosines[RELEASED] - self.cosines[OTHER], -2.0, 2.0)
        within = (-2.0, 2.0)
        return clustered_mean(gains, self.documents, self.per_document, "cosine", "prompts", self.seed, within=within)

    @property
    def distinct(self) -> dict[str, tuple[Figure, ...]]:
        """Distinct-1, -2 and -3 of each condition's texts and of the true responses."""
        self._require(bool(self.texts), "distinct")
        return {name: tuple(distinct(texts, n, self.documents) for n in NGRAMS) for name, texts in self.texts.items()}

    def to_dict(self) -> dict[str, Json]:
        """Returns every figure that was asked for, under its name; no text of a prompt."""
        summary: dict[str, Json] = {
            "name": self.name,
            "sample": self.sample,
            "seed": self.seed,
            "new_tokens": self.new_tokens,
            "prompts": len(self),
            "documents": len(set(self.documents)),
        }
        if self.losses:
            summary |= {"prediction": asdict(self.prediction), "perplexity": _dicts(self.perplexities)}
        if self.cosines:
            summary |= {"coherence": _dicts(self.coherence), "coherence_gain": self.coherence_gain.to_dict()}
        if self.texts:
            summary["distinct"] = {name: [one.to_dict() for one in figures] for name, figures in self.distinct.items()}
        if self.mauve:
            summary["mauve"] = {name: asdict(value) for name, value in self.mauve.items()}
        return summary

    def _require(self, there: bool, metric: Metric) -> None:
        if not there:
            raise UserError(f"Expected an evaluation with metric {metric!r}, got one of {self.name!r} without it.")


def evaluate(
    name: str,
    language: LanguageModel,
    server: Answering,
    prompts: Prompts,
    *,
    seed: int,
    progress: Progress,
    sentences: SentenceEncoder | None = None,
    new_tokens: int = 200,
    metrics: Collection[Metric] = get_args(Metric),
) -> Evaluation:
    """Returns the evaluation of one mechanism: its prompts' messages, and the server that reads them.

    name: of the mechanism, for tables. language: the server's model, which the controls without a release run on.
    sentences: needed for coherence and mauve. progress: an object with update(n), told LOSSES times a prompt if
    prediction is asked for and ANSWERS times a prompt if text is. Raises UserError for unknown metrics, a missing
    sentence encoder, and prompts of which another user's cannot be found (strangers).
    """
    unknown = set(metrics) - set(get_args(Metric))
    if unknown or not metrics:
        raise UserError(f"Expected metrics among {', '.join(get_args(Metric))}, got {sorted(unknown) or 'none'}.")
    if sentences is None and {"coherence", "mauve"} & set(metrics):
        raise UserError("Expected a sentence encoder for coherence and mauve, got sentences=None.")
    losses = condition_losses(language, server, prompts, progress) if "prediction" in metrics else {}
    texts: dict[str, Sequence[str]] = {}
    cosines: dict[str, NDArray[np.float64]] = {}
    mauve: dict[str, Mauve] = {}
    if set(metrics) - {"prediction"}:
        truth = references(language, prompts)
        texts = {**condition_answers(language, server, prompts, new_tokens, seed, progress), REFERENCE: truth}
        if sentences is not None and {"coherence", "mauve"} & set(metrics):
            vectors = {condition: sentences.embed(written) for condition, written in texts.items()}
            target = vectors.pop(REFERENCE)
            cosines = coherences(vectors, target) if "coherence" in metrics else {}
            if "mauve" in metrics:
                clusters = prompts.clusters
                mauve = {condition: measure_mauve(rows, target, seed, clusters) for condition, rows in vectors.items()}
    return Evaluation(
        name,
        prompts.sample,
        seed,
        new_tokens,
        tuple(prompts.numbers),
        tuple(map(len, prompts.clean)),
        tuple(map(len, prompts.responses)),
        losses,
        {condition: tuple(written) for condition, written in texts.items()},
        cosines,
        mauve,
        prompts.per_document,
    )


def compare_evaluations(
    evaluations: Sequence[Evaluation], seed: int, reference: str | None = None, of: Literal["gains", "losses"] = "gains"
) -> Comparison:
    """Returns paired differences of mechanisms that were evaluated on the same prompts.

    reference: compare every one with this one; all pairs if left out. of: the paired gains, or the losses of the true
    response given the release, where the smaller is the better mechanism (Difference.larger names the other).
    Raises UserError for different prompts, missing losses, one name twice, and as compare does.
    """
    if len({one.sample for one in evaluations}) > 1:
        raise UserError("Expected evaluations of the same prompts, got different ones: they cannot be paired.")
    if any(not one.losses for one in evaluations):
        raise UserError("Expected evaluations with metric 'prediction' to compare, got one without it.")
    runs = {one.name: one.gains if of == "gains" else one.losses[RELEASED] for one in evaluations}
    if len(runs) != len(evaluations):
        raise UserError(f"Expected a name of its own for each evaluation, got {[one.name for one in evaluations]}.")
    return compare(runs, seed, evaluations[0].documents if evaluations else None, reference)


def _dicts(figures: Mapping[str, Figure]) -> dict[str, Json]:
    return {name: figure.to_dict() for name, figure in figures.items()}
