"""What the server runs for a task: soft tokens, the frozen language model, perhaps a denoiser, a classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.mechanism import Receiver
from mechanisms.nlu.denoiser import Denoiser
from mechanisms.nlu.initial import draw_parameters
from mechanisms.nlu.states import by_length, read_states
from mechanisms.validation import at_least

Pooling = Literal["last", "mean and last"]


@dataclass(frozen=True, slots=True)
class ClassifierShape:
    """pooling: which vector stands for a text: the last token's state, or that beside the mean of all.

    hidden: width of the hidden layer; 0 makes the classifier linear.
    """

    pooling: Pooling = "mean and last"
    hidden: int = 64

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise UserError(
                f"Expected pooling to be one of {', '.join(get_args(Pooling))}, got pooling={self.pooling!r}."
            )
        at_least("hidden", self.hidden, 0)

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


PLAIN = ClassifierShape("last", 0)
"""The plain DEL path: a linear classifier on the last token's state."""
SPLIT_AND_DENOISE = ClassifierShape("mean and last", 64)
"""The paper's path: a fully connected classifier on pooled denoised states."""


class Classifier(nn.Module):
    """A linear or fully connected classifier on standardised features; it starts by telling all texts the same."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, classes: int, shape: ClassifierShape, seed: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        with torch.random.fork_rng(devices=()):  # torch draws values that are replaced below
            last = nn.Linear(shape.hidden or features, classes)
            self.hidden = nn.Sequential(nn.Linear(features, shape.hidden), nn.GELU()) if shape.hidden else None
            self.last = last
        draw_parameters(self, seed, "classifier")
        nn.init.zeros_(self.last.weight)

    def start(self, features: Tensor, labels: Tensor) -> None:
        """Sets centre and spread from public releases, and the offsets to the logarithms of the classes' shares.

        features: shape (texts, features). labels: int64, shape (texts,); a class without any counts as half an example.
        """
        spread = features.std(0, correction=0)
        self.centre.copy_(features.mean(0))
        self.spread.copy_(spread.clamp(min=max(1e-6 * float(spread.max()), 1e-12)))
        counts = torch.bincount(labels, minlength=self.last.out_features).clamp(min=0.5)
        with torch.no_grad():
            self.last.bias.copy_((counts / counts.sum()).log())

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits, shape (texts, classes)."""
        seen = (features - self.centre) / self.spread
        logits: Tensor = self.last(seen if self.hidden is None else self.hidden(seen))
        return logits


class TaskParts(nn.Module):
    """All that is trained for a task: the soft tokens, shape (virtual tokens, width), and the classifier.

    A denoiser is kept with them as it was trained: nothing here changes it.
    """

    def __init__(
        self, soft: Tensor, classes: Sequence[str], shape: ClassifierShape, denoiser: Denoiser | None, seed: int
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.shape = shape
        self.soft = nn.Parameter(soft.detach().clone())
        features = soft.shape[1] * (1 if shape.pooling == "last" else 2)
        self.classifier = Classifier(features, len(self.classes), shape, seed)
        if denoiser is not None and denoiser.width != soft.shape[1]:
            raise UserError(f"Expected a denoiser of width {soft.shape[1]}, got width {denoiser.width}.")
        self.denoiser = denoiser.requires_grad_(False) if denoiser is not None else None


@dataclass(frozen=True, slots=True)
class TaskReader:
    """Reads embeddings and tells a text's class. The language model is frozen and no part of what is saved."""

    model: PreTrainedModel
    parts: TaskParts
    bfloat16: bool = False

    def features(self, rows: Sequence[Tensor]) -> Tensor:
        """Returns one vector a text, shape (texts, features), differentiable in the soft tokens.

        rows: what the server reads of each text, shape (tokens, width).
        Raises UserError for another width and for texts over the context with the virtual tokens counted.
        """
        denoiser = self.parts.denoiser
        place = denoiser.shape.place if denoiser is not None else None
        if denoiser is not None and place == "embeddings":
            rows = denoiser.denoise(rows)
        states = read_states(self.model, self.parts.soft, rows, self.bfloat16)
        if denoiser is not None and place == "states":
            states = denoiser.denoise(states)
        last = torch.stack([state[-1] for state in states])
        if self.parts.shape.pooling == "last":
            return last
        return torch.cat([torch.stack([state.mean(0) for state in states]), last], dim=1)

    def logits(self, rows: Sequence[Tensor]) -> Tensor:
        """Returns logits, shape (texts, classes); raises UserError as features does."""
        logits: Tensor = self.parts.classifier(self.features(rows))
        return logits

    @torch.no_grad()
    def cached_features(self, rows: Sequence[Tensor], batch: int, label: str) -> Tensor:
        """Returns features of all rows, in their order, without gradients; label names the progress bar."""
        found: list[Tensor | None] = [None] * len(rows)
        for chosen in tqdm(by_length(rows, batch), desc=label, unit="batch", leave=False):
            for index, vector in zip(chosen, self.features([rows[i] for i in chosen]), strict=True):
                found[index] = vector
        return torch.stack([vector for vector in found if vector is not None])

    @torch.no_grad()
    def scores(self, rows: Sequence[Tensor], batch: int = 16) -> NDArray[np.float64]:
        """Returns each text's probabilities of the classes, float64, shape (texts, classes), rows in their order."""
        if not len(rows):
            return np.zeros((0, len(self.parts.classes)))
        logits = self.parts.classifier(self.cached_features(rows, batch, "scoring"))
        probabilities: NDArray[np.float64] = torch.softmax(logits.double(), dim=1).cpu().numpy()
        return probabilities


@dataclass(frozen=True, slots=True)
class TaskServer:
    """The server of a task: it is given messages and nothing else of a text."""

    receiver: Receiver
    reader: TaskReader

    def scores(self, messages: Sequence[bytes]) -> NDArray[np.float64]:
        """Returns each message's probabilities of the classes, float64, shape (messages, classes).

        Raises UserError for a message that the mechanism did not make, and as TaskReader.features does.
        """
        return self.reader.scores([torch.from_numpy(self.receiver.embeddings(message)) for message in messages])
