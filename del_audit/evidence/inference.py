"""What a whole release tells about its prompt: the sensitive attribute (harm) and the server's task (utility)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.attribute import Probe, ProbeResult, fit_probe
from del_audit.evidence.bootstrap import bootstrap_mean
from del_audit.evidence.classification import classification_figures
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import balanced_rate, clustered_mean, rate
from del_audit.evidence.prompts import strangers
from mechanisms.errors import UserError

BALANCED = "mean recall over classes"


@dataclass(frozen=True, slots=True)
class Sample:
    """Documents of one part: views of their releases and of their clean text, labels, and whose each row is.

    released: rows are releases; clean: one row a release as well, so that both probes see the same rows.
    documents: of each row, or its author, where an author wrote several. lengths: what the message's size alone shows.
    """

    released: Mapping[str, Any]
    clean: Mapping[str, Any]
    labels: tuple[str, ...]
    documents: tuple[Hashable, ...]
    lengths: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.documents):
            raise UserError(f"Expected a label for each of {len(self.documents)} rows, got {len(self.labels)}.")

    def only(self, classes: Sequence[str]) -> "Sample":
        """Returns the rows whose label is one of classes."""
        chosen = np.flatnonzero(np.isin(self.labels, list(classes)))
        released, clean, lengths = (
            {kind: rows[chosen] for kind, rows in part.items()} for part in (self.released, self.clean, self.lengths)
        )
        labels = tuple(self.labels[i] for i in chosen)
        return Sample(released, clean, labels, tuple(self.documents[i] for i in chosen), lengths)


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """One probe on held-out rows. balanced: mean recall over classes. accuracy: share right of the same decisions.

    auc: each class against the rest, mean. weighted_accuracy: share right where the classes' shares in the training
    part are counted in, which is best for accuracy. over_majority: that less the share that always naming the
    training part's commonest class gets right, paired by row: advantage over the prior.
    """

    result: ProbeResult
    balanced: Figure
    accuracy: Figure
    auc: Figure
    weighted_accuracy: Figure
    over_majority: Figure

    @property
    def advantage(self) -> Figure:
        """Balanced accuracy above chance, as a share of what there is to gain: 0 learns nothing, 1 everything."""
        chance = 1 / len(self.result.classes)
        return self.balanced.mapped(
            lambda share: max(0.0, (share - chance) / (1 - chance)), "share of the way from chance to certainty"
        )


@dataclass(frozen=True, slots=True)
class Inference:
    """A probe on the release, between its ceiling and its floor.

    balanced: mean recall over classes; accuracy: share right. clean: the same probes on the clean text.
    other: the same probe shown another user's release. majority: share of the commonest class.
    figures, clean_figures, length_figures: all of a probe's figures on the release, on clean text, and on the
    message's size alone, the floor; None where no sizes were given.
    """

    column: str
    probe: ProbeResult
    balanced: Figure
    accuracy: Figure
    clean: Figure
    clean_accuracy: Figure
    other: Figure
    majority: Figure
    figures: ProbeFigures
    clean_figures: ProbeFigures
    length_figures: ProbeFigures | None

    @property
    def chance(self) -> float:
        """Balanced accuracy of a guess without looking."""
        return 1 / len(self.probe.classes)

    @property
    def recalls(self) -> dict[str, Figure]:
        """Recall of each class."""
        rows = zip(self.probe.classes, self.probe.recalled, self.probe.held_out, strict=True)
        return {name: rate(k, n, "share of the class told", "documents") for name, k, n in rows}

    @property
    def advantage(self) -> Figure:
        """Balanced accuracy above chance, as a share of what there is to gain: 0 learns nothing, 1 everything."""
        return self.figures.advantage


def infer(column: str, public: Sample, private: Sample, seed: int) -> Inference:
    """Returns how well a column is told from releases: probes are fitted on public, scored once on private.

    Raises UserError where a document or author is in both parts of a sample that names them alike (text ids do, bare
    row numbers cannot be told apart), and as fit_probe and Probe.judge do.
    """
    named = {name for name in public.documents if isinstance(name, str)}
    shared = sorted(named.intersection(name for name in private.documents if isinstance(name, str)))
    if shared:
        raise UserError(f"Expected no document or author in both parts, got {shared[0]!r} and {len(shared) - 1} more.")
    fitted = fit_probe(public.released, public.labels, public.documents, seed)
    order = strangers(private.documents)
    others = {kind: rows[order] for kind, rows in private.released.items()}
    other = fitted.probabilities(others)
    clean = fit_probe(public.clean, public.labels, public.documents, seed)
    figures = probe_figures(fitted, private.released, private, seed)
    clean_figures = probe_figures(clean, private.clean, private, seed)
    length_figures = None
    if public.lengths:
        lengths = fit_probe(public.lengths, public.labels, public.documents, seed)
        length_figures = probe_figures(lengths, private.lengths, private, seed)
    return Inference(
        column,
        figures.result,
        figures.balanced,
        figures.accuracy,
        clean_figures.balanced,
        clean_figures.accuracy,
        _balanced(fitted.judge(other, private.labels), _right(fitted, other, private), private, seed),
        _share(np.array(private.labels) == _commonest(fitted), private, seed),
        figures,
        clean_figures,
        length_figures,
    )


def probe_figures(probe: Probe, rows: Mapping[str, Any], sample: Sample, seed: int) -> ProbeFigures:
    """Returns a probe's figures on held-out rows; rows of one document or author are resampled together.

    Raises UserError as Probe.judge does.
    """
    probabilities = probe.probabilities(rows)
    result = probe.judge(probabilities, sample.labels)
    right = _right(probe, probabilities, sample)
    weighted = _right(probe, probabilities * probe.shares, sample)
    majority = np.array(sample.labels) == _commonest(probe)
    auc = classification_figures(sample.labels, probabilities, seed, sample.documents, probe.classes).auc
    over = clustered_mean(
        weighted.astype(float) - majority,
        sample.documents,
        "share of rows right, above always naming the commonest class",
        "documents",
        seed,
        within=(-1.0, 1.0),
    )
    return ProbeFigures(
        result,
        _balanced(result, right, sample, seed),
        _share(right, sample, seed),
        auc,
        _share(weighted, sample, seed),
        over,
    )


def _commonest(probe: Probe) -> str:
    return probe.classes[int(np.argmax(probe.shares))]


def _right(probe: Probe, probabilities: NDArray[np.float64], sample: Sample) -> NDArray[np.bool_]:
    return np.asarray(np.array(probe.classes)[probabilities.argmax(axis=1)] == np.array(sample.labels))


def _alone(sample: Sample) -> bool:
    """Returns whether every row is a document of its own."""
    return len(set(sample.documents)) == len(sample.documents)


def _share(right: NDArray[np.bool_], sample: Sample, seed: int) -> Figure:
    """Returns the share of rows that are right: Clopper-Pearson for independent rows, else a bootstrap."""
    if _alone(sample):
        return rate(int(right.sum()), len(right), "share of documents", "documents")
    figure = bootstrap_mean(
        right.astype(float), "share of rows", "rows", seed, clusters=sample.documents, within=(0.0, 1.0)
    )
    if figure.lower < figure.upper:
        return figure  # otherwise all rows are alike, and resampling shows no spread
    return rate(round(figure.value) * (figure.documents or 1), figure.documents or 1, "share of rows", "documents")


def _balanced(result: ProbeResult, right: NDArray[np.bool_], sample: Sample, seed: int) -> Figure:
    """Returns the mean recall: combined Clopper-Pearson for independent rows, else a bootstrap over documents.

    The bootstrap is of what each row adds: its class's recall moves by (right - recall) / size.
    """
    if _alone(sample):
        return balanced_rate(result.recalled, result.held_out, seed)
    place = np.searchsorted(result.classes, np.array(sample.labels))
    sizes, recalls = np.array(result.held_out), np.divide(result.recalled, result.held_out)
    adds = (right - recalls[place]) * len(place) / (len(sizes) * sizes[place])
    if not np.any(np.abs(adds) > 0):
        documents = [
            len({d for d, p in zip(sample.documents, place, strict=True) if p == k}) for k in range(len(sizes))
        ]
        return balanced_rate([round(r) * d for r, d in zip(recalls, documents, strict=True)], documents, seed)
    return bootstrap_mean(recalls.mean() + adds, BALANCED, "rows", seed, clusters=sample.documents, within=(0.0, 1.0))
