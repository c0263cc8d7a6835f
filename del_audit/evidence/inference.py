"""What a whole release tells about its prompt: the sensitive attribute (harm) and the server's task (utility)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks.attribute import Probe, ProbeResult, fit_probe
from attacks.attribute.posteriors import Rows
from del_audit.evidence.classification import classification_figures
from del_audit.service.prompts import strangers
from del_audit.statistics.bootstrap import group
from del_audit.statistics.class_intervals import clustered_recall
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import balanced_rate, clustered_mean, clustered_rate, rate, require_longest
from mechanisms.errors import UserError


@dataclass(frozen=True, slots=True)
class Sample:
    """Documents of one part: views of their releases and of their clean text, labels, and whose each row is.

    released: rows are releases; clean: one row a release as well, so that both probes see the same rows.
    documents: of each row, or its author, where an author wrote several. lengths: what the message's size alone shows.
    longest: the most rows that one of them can have, known before any is drawn; intervals over private rows use it.
    """

    released: Mapping[str, Rows]
    clean: Mapping[str, Rows]
    labels: tuple[str, ...]
    documents: tuple[Hashable, ...]
    lengths: Mapping[str, Rows] = field(default_factory=dict)
    longest: int = 1

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
        return Sample(released, clean, labels, tuple(self.documents[i] for i in chosen), lengths, self.longest)


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
    probabilities = fitted.probabilities(private.released)
    other = probabilities[strangers(private.documents)]  # each row is looked at alone
    clean = fit_probe(public.clean, public.labels, public.documents, seed)
    figures = _figures(fitted, probabilities, private, seed)
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


def probe_figures(probe: Probe, rows: Mapping[str, Rows], sample: Sample, seed: int) -> ProbeFigures:
    """Returns a probe's figures on held-out rows; rows of one document or author count as one.

    Raises UserError as Probe.judge does, and for a document of more rows than sample.longest.
    """
    return _figures(probe, probe.probabilities(rows), sample, seed)


def _figures(probe: Probe, probabilities: NDArray[np.float64], sample: Sample, seed: int) -> ProbeFigures:
    """Returns probe_figures of a probe's probabilities, shape (rows, classes)."""
    require_longest(group(sample.documents, len(sample.labels)).sums(np.ones(len(sample.labels))), sample.longest)
    result = probe.judge(probabilities, sample.labels)
    right = _right(probe, probabilities, sample)
    weighted = _right(probe, probabilities * probe.shares, sample)
    majority = np.array(sample.labels) == _commonest(probe)
    auc = classification_figures(
        sample.labels, probabilities, seed, sample.documents, probe.classes, longest=sample.longest
    ).auc
    over = clustered_mean(
        weighted.astype(float) - majority,
        sample.documents,
        sample.longest,
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


def _share(right: NDArray[np.bool_], sample: Sample, seed: int) -> Figure:
    """Returns the share of rows that are right: Clopper-Pearson for independent rows, else over documents."""
    if sample.longest == 1:
        return rate(int(right.sum()), len(right), "share of documents", "documents")
    return clustered_rate(right, sample.documents, sample.longest, "share of rows", "rows", seed)


def _balanced(result: ProbeResult, right: NDArray[np.bool_], sample: Sample, seed: int) -> Figure:
    """Returns the mean recall: combined Clopper-Pearson for independent rows, else over documents."""
    if sample.longest == 1:
        return balanced_rate(result.recalled, result.held_out, seed)
    place = np.searchsorted(result.classes, np.array(sample.labels))
    return clustered_recall(right, place, group(sample.documents, len(place)), sample.longest, seed)
