"""Probes: view, classifier and strength are chosen by cross-validation inside the training part, then scored once."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from attacks.attribute.attention import AttentionProbe
from attacks.attribute.candidates import Candidate, Family, families
from attacks.attribute.posteriors import Rows
from attacks.attribute.splits import FOLDS, numbered
from mechanisms.errors import UserError

VOTES = (1, 3, 5)
"""How many of the best kinds of probe may vote together: cross-validation says how many do."""
HEARD = 0.5
"""A kind votes only with this share, or more, of the best one's advantage over chance."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """features: what the chosen probe looks at. validation: its balanced accuracy in cross-validation.

    classes: the labels. recalled, held_out: right answers and rows of each class in the held-out part.
    classifier: what looks at the features, with its strength.
    """

    features: str
    validation: float
    classes: tuple[str, ...]
    recalled: tuple[int, ...]
    held_out: tuple[int, ...]
    classifier: str = ""

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes; chance is one over their number."""
        return float(np.mean(np.divide(self.recalled, self.held_out)))

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(self.recalled) / sum(self.held_out)


@dataclass(frozen=True, slots=True)
class Member:
    """One fitted probe on one view."""

    view: str
    classifier: str
    model: ClassifierMixin

    def probabilities(self, rows: Rows, classes: Sequence[str]) -> Floats:
        """Returns probabilities, shape (rows, classes)."""
        return _aligned(self.model, rows, classes)


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe: its views and classifiers, how well it did in cross-validation, and its voting members.

    shares: of the classes in the training part, shape (classes,).
    """

    features: str
    validation: float
    classes: tuple[str, ...]
    classifier: str
    shares: tuple[float, ...]
    members: tuple[Member, ...]

    def probabilities(self, rows: Mapping[str, Rows]) -> Floats:
        """Returns the probability of each class for classes of equal size, shape (rows, classes).

        Raises UserError where a view is missing that the probe looks at.
        """
        for member in self.members:
            if member.view not in rows:
                raise UserError(f"Expected the view {member.view!r}, which the probe looks at, got {list(rows)}.")
        with threadpool_limits(1):
            votes = [member.probabilities(rows[member.view], self.classes) for member in self.members]
        return np.asarray(np.mean(votes, axis=0))

    def score(self, test: Mapping[str, Rows], labels: Sequence[str]) -> ProbeResult:
        """Returns the result on held-out rows, one a label; raises UserError as `judge` does."""
        return self.judge(self.probabilities(test), labels)

    def judge(self, probabilities: Floats, labels: Sequence[str]) -> ProbeResult:
        """Returns the result of probabilities on held-out rows, one a label.

        Raises UserError for labels of another length, for a class without a held-out document, whose recall would be
        unknown, and for a held-out class that the probe was not trained on.
        """
        if len(labels) != len(probabilities):
            raise UserError(f"Expected a label for each of {len(probabilities)} held-out rows, got {len(labels)}.")
        unknown = sorted(set(labels) - set(self.classes))
        if unknown:
            raise UserError(f"Expected held-out documents of the classes {list(self.classes)}, got {unknown[0]!r}.")
        truth = np.searchsorted(self.classes, np.asarray(labels))
        held_out = np.bincount(truth, minlength=len(self.classes))
        if not held_out.all():
            missing = self.classes[int(held_out.argmin())]
            raise UserError(f"Expected held-out documents of every class, got none of {missing!r}.")
        right = probabilities.argmax(axis=1) == truth
        recalled = np.bincount(truth[right], minlength=len(self.classes))
        return ProbeResult(
            self.features,
            self.validation,
            self.classes,
            tuple(recalled.tolist()),
            tuple(held_out.tolist()),
            self.classifier,
        )


@dataclass(frozen=True, slots=True)
class _Tried:
    """A candidate on a view, with its probabilities for rows whose documents it was not fitted on."""

    view: str
    family: Family
    candidate: Candidate
    probabilities: Floats
    score: float

    @property
    def described(self) -> str:
        return ", ".join(part for part in (self.candidate.name, self.candidate.strength) if part)


def fit_probe(train: Mapping[str, Rows], labels: Sequence[str], documents: Sequence[Hashable], seed: int = 0) -> Probe:
    """Returns the probe that cross-validation likes best, fitted on the whole training part; nothing else is seen.

    train: each view's rows. documents: whose row it is, a document's or an author's: their rows (a document may be
    released several times) stay in one fold. The best strength of each classifier on each view is found first; then
    the best one of those, or a vote of the best few.
    Raises UserError for no view, for views, labels and documents of different lengths, for one class, and for a class
    with fewer documents than folds.
    """
    groups = numbered(list(documents))
    truth, classes = _checked(train, labels, groups)
    folds = list(StratifiedGroupKFold(FOLDS).split(np.zeros(len(truth)), truth, groups))
    best: dict[tuple[str, str], _Tried] = {}
    with threadpool_limits(1):  # these products are small: several threads would wait for each other
        for view, rows in train.items():
            for tried in _tried(view, rows, truth, groups, folds, classes, seed):
                key = (view, tried.candidate.name)
                if key not in best or tried.score > best[key].score:
                    best[key] = tried
        ranked = _heard(sorted(best.values(), key=lambda tried: -tried.score), 1 / len(classes))
        votes = {count: _voted(ranked[:count], truth, classes) for count in VOTES if count <= len(ranked)}
        chosen = ranked[: max(votes, key=lambda count: votes[count])]
        members = tuple(
            Member(t.view, t.described, _fitted(t.family, t.candidate, train[t.view], truth, groups)) for t in chosen
        )
    return Probe(
        " + ".join(dict.fromkeys(member.view for member in members)),
        votes[len(members)],
        classes,
        " + ".join(member.classifier for member in members),
        tuple(float(np.mean(truth == name)) for name in classes),
        members,
    )


def balanced_accuracy(truth: NDArray[np.str_], guesses: NDArray[np.str_], classes: Sequence[str]) -> float:
    """Returns the mean over classes of the share of a class's rows that are guessed right."""
    return float(np.mean([np.mean(guesses[truth == name] == name) for name in classes]))


def _checked(
    train: Mapping[str, Rows], labels: Sequence[str], groups: NDArray[np.int64]
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    if not train:
        raise UserError("Expected at least one view of the training part, got none.")
    lengths = {name: rows.shape[0] for name, rows in train.items()} | {"documents": len(groups)}
    for name, length in lengths.items():
        if length != len(labels):
            raise UserError(f"Expected a label for each of {length} rows of {name!r}, got {len(labels)}.")
    truth = np.array(labels)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise UserError(f"Expected an attribute of two classes or more, got {list(classes)}.")
    require_groups(labels, groups.tolist(), "the training part")
    return truth, classes


def require_groups(labels: Sequence[str], groups: Sequence[Hashable], where: str) -> None:
    """Raises UserError for a class with fewer documents or groups than folds; labels, groups: of each row."""
    of_each: dict[str, set[Hashable]] = {}
    for label, owner in zip(labels, groups, strict=True):
        of_each.setdefault(label, set()).add(owner)
    for name, owners in sorted(of_each.items()):
        if len(owners) < FOLDS:
            raise UserError(
                f"Expected {FOLDS} public documents or groups at least of each class in {where}, got {len(owners)} of "
                f"{name!r}. Ask for fewer classes, or add public rows."
            )


def _tried(
    view: str,
    rows: Rows,
    truth: NDArray[np.str_],
    groups: NDArray[np.int64],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    classes: Sequence[str],
    seed: int,
) -> Iterator[_Tried]:
    """Yields every candidate on a view; what prepares the rows is fitted in each fold, once for its family."""
    for family in families(rows, seed):
        found = [np.zeros((len(truth), len(classes))) for _ in family.candidates]
        for fitted, validated in folds:
            before, after = rows[fitted], rows[validated]
            if family.prepare is not None:
                prepare = family.prepare()
                before, after = prepare.fit_transform(before, truth[fitted]), prepare.transform(after)
            for candidate, probabilities in zip(family.candidates, found, strict=True):
                model = _fit(candidate.make(), before, truth[fitted], groups[fitted])
                probabilities[validated] = _aligned(model, after, classes)
        for candidate, probabilities in zip(family.candidates, found, strict=True):
            score = _score(probabilities, truth, classes)
            yield _Tried(view, family, candidate, probabilities, score)


def _heard(ranked: Sequence[_Tried], chance: float) -> list[_Tried]:
    """Returns the best one and those near it: a view that tells next to nothing would only add its noise."""
    least = chance + HEARD * (ranked[0].score - chance)
    return [ranked[0], *(tried for tried in ranked[1:] if tried.score >= least)]


def _voted(tried: Sequence[_Tried], truth: NDArray[np.str_], classes: Sequence[str]) -> float:
    return _score(np.mean([one.probabilities for one in tried], axis=0), truth, classes)


def _score(probabilities: Floats, truth: NDArray[np.str_], classes: Sequence[str]) -> float:
    return balanced_accuracy(truth, np.array(classes)[probabilities.argmax(axis=1)], classes)


def _fitted(
    family: Family, candidate: Candidate, rows: Rows, truth: NDArray[np.str_], groups: NDArray[np.int64]
) -> ClassifierMixin:
    """Returns a candidate with what prepares its rows, both fitted on all of the training part."""
    if family.prepare is None:
        return _fit(candidate.make(), rows, truth, groups)
    return make_pipeline(family.prepare(), candidate.make()).fit(rows, truth)


def _fit(model: ClassifierMixin, rows: Rows, truth: NDArray[np.str_], groups: NDArray[np.int64]) -> ClassifierMixin:
    if isinstance(model, AttentionProbe):
        return model.fit(np.asarray(rows, dtype=np.object_), truth, groups)
    return model.fit(rows, truth)


def _aligned(model: ClassifierMixin, rows: Rows, classes: Sequence[str]) -> Floats:
    """Returns a model's probabilities with a column for each class, 0 for one that its training rows lacked."""
    probabilities = np.zeros((rows.shape[0], len(classes)))
    probabilities[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(rows)
    return probabilities
