"""What a whole release tells about its prompt: the sensitive attribute (harm) and the server's task (utility)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks.attribute import Features, ProbeResult, fit_probe
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import balanced_rate, rate


@dataclass(frozen=True, slots=True)
class Sample:
    """Documents of one part: features of their releases and of their clean text, labels, and which document each is.

    released: rows are releases; clean: one row a release as well, so that both probes see the same rows.
    """

    released: Features
    clean: Features
    labels: tuple[str, ...]
    documents: tuple[int, ...]

    def only(self, classes: Sequence[str]) -> "Sample":
        """Returns the rows whose label is one of classes."""
        keep = np.isin(self.labels, list(classes))
        chosen = np.flatnonzero(keep)
        return Sample(
            {kind: rows[keep] for kind, rows in self.released.items()},
            {kind: rows[keep] for kind, rows in self.clean.items()},
            tuple(self.labels[i] for i in chosen),
            tuple(self.documents[i] for i in chosen),
        )


@dataclass(frozen=True, slots=True)
class Inference:
    """A probe on the release, between its ceiling and its floor.

    balanced: mean recall over classes; accuracy: share right. clean: the same probe on clean embeddings.
    other: the same probe shown another user's release. majority: share of the commonest class.
    """

    column: str
    probe: ProbeResult
    balanced: Figure
    accuracy: Figure
    clean: Figure
    clean_accuracy: Figure
    other: Figure
    majority: Figure

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
        chance = self.chance
        return self.balanced.mapped(
            lambda rate: max(0.0, (rate - chance) / (1 - chance)), "share of the way from chance to certainty"
        )


def infer(column: str, public: Sample, private: Sample, seed: int) -> Inference:
    """Returns how well a column is told from releases: probes are fitted on public, scored once on private."""
    labels, held = public.labels, private.labels
    fitted = fit_probe(public.released, labels, public.documents)
    rolled = {kind: np.roll(rows, 1, axis=0) for kind, rows in private.released.items()}
    probe, other = fitted.score(private.released, held), fitted.score(rolled, held)
    clean = fit_probe(public.clean, labels, public.documents).score(private.clean, held)
    commonest = max(sorted(set(labels)), key=list(labels).count)
    return Inference(
        column,
        probe,
        _balanced(probe, seed),
        _accuracy(probe),
        _balanced(clean, seed),
        _accuracy(clean),
        _balanced(other, seed),
        rate(list(held).count(commonest), len(held), "share of documents", "documents"),
    )


def _balanced(result: ProbeResult, seed: int) -> Figure:
    return balanced_rate(result.recalled, result.held_out, seed)


def _accuracy(result: ProbeResult) -> Figure:
    return rate(sum(result.recalled), sum(result.held_out), "share of documents", "documents")
