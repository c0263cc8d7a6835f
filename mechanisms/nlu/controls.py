"""Scores of a task on held-out releases, beside the controls that a figure of it is read against."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from mechanisms.errors import UserError
from mechanisms.nlu.inputs import Clean, Inputs
from mechanisms.nlu.pairs import LabelledTokens
from mechanisms.nlu.reader import TaskReader
from mechanisms.randomness import simulation_generator


@dataclass(frozen=True, slots=True)
class TaskScores:
    """Probabilities of the classes, float64, shape (examples, classes), the same examples in every field.

    released: from each example's own release. other: from another example's release, what the labels' frequencies alone
    give (floor). majority: the classes' shares in the training part. length: from the number of tokens alone, which no
    mechanism here hides (a second floor: what is not above it was not learned from words). clean: of the reader that
    was trained on clean embeddings, shown clean embeddings (ceiling); None where none was given. labels: indices into
    classes.
    """

    released: NDArray[np.float64]
    other: NDArray[np.float64]
    majority: NDArray[np.float64]
    length: NDArray[np.float64]
    clean: NDArray[np.float64] | None
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def by_name(self) -> dict[str, NDArray[np.float64]]:
        """Returns the scores that there are, under their names."""
        named = {"released": self.released, "other": self.other, "majority": self.majority, "length": self.length}
        return named if self.clean is None else {**named, "clean": self.clean}


def score_task(
    reader: TaskReader,
    inputs: Inputs,
    train: LabelledTokens,
    test: LabelledTokens,
    clean_reader: TaskReader | None = None,
    seed: int = 0,
) -> TaskScores:
    """Returns the scores of a held-out part and of its controls.

    inputs: simulated releases of the mechanism that the reader was trained for, none of which training has seen.
    clean_reader: trained with Clean, on the plain path or on the same one without its denoiser.

    Raises UserError for inputs that are not private, other classes, fewer than two examples, and a clean_reader with
    a denoiser: no denoiser is given clean inputs.
    """
    if not inputs.private:
        raise UserError("Expected releases of a mechanism to score, got clean embeddings: those are a control.")
    if not train.classes == test.classes == reader.parts.classes:
        raise UserError(f"Expected the classes {reader.parts.classes}, got {train.classes} and {test.classes}.")
    if clean_reader is not None and clean_reader.parts.denoiser is not None:
        raise UserError("Expected a clean_reader without a denoiser, got one with it.")
    released = reader.scores(inputs.rows(test.tokens, "task test", str(seed)))
    shares = np.bincount(train.labels, minlength=len(train.classes)) / len(train)
    clean = None if clean_reader is None else clean_reader.scores(Clean(clean_reader.model).rows(test.tokens))
    return TaskScores(
        released,
        released[others(len(test), seed)],
        np.tile(shares, (len(test), 1)),
        _length_scores(train, test),
        clean,
        test.labels,
        test.classes,
    )


def _length_scores(train: LabelledTokens, test: LabelledTokens) -> NDArray[np.float64]:
    """Returns what a logistic regression on the number of tokens says, with classes that training lacks at 0."""

    def counted(part: LabelledTokens) -> NDArray[np.float64]:
        return np.log([[len(example)] for example in part.tokens])

    centre, spread = counted(train).mean(), counted(train).std() or 1.0
    fitted = LogisticRegression().fit((counted(train) - centre) / spread, train.labels)
    scores = np.zeros((len(test), len(test.classes)))
    scores[:, fitted.classes_] = fitted.predict_proba((counted(test) - centre) / spread)
    return scores


def others(examples: int, seed: int) -> NDArray[np.int64]:
    """Returns for each example another one, int64, shape (examples,): each is another's exactly once.

    Raises UserError for fewer than two examples.
    """
    if examples < 2:
        raise UserError(f"Expected two examples or more, got {examples}.")
    order = simulation_generator(seed, "nlu other example").permutation(examples)
    other = np.empty(examples, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return other
