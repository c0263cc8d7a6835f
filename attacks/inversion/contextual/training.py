"""Training on public text pushed through the mechanism's own release, with fresh noise each step."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from attacks.base import AttackerKnowledge
from attacks.inversion.contextual.evidence import Evidence
from attacks.inversion.contextual.loss import Negatives, sampled_loss
from attacks.inversion.contextual.network import ContextNetwork
from attacks.inversion.contextual.reader import Reader
from attacks.inversion.contextual.settings import ContextualTraining, NetworkShape
from attacks.public_text import Text
from mechanisms.canonical_json import Json
from mechanisms.device_channel import CPU
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import SimulatedRandomness, simulation_generator
from mechanisms.training.checkpoint import CARD, made_once
from mechanisms.training.documents import documents_sha256, hold_out, require_tokens
from mechanisms.training.loop import PARAMETERS_FILE, fit, run


def require_text(documents: Sequence[Sequence[int]], window: int) -> None:
    """Raises UserError for fewer public documents than two, for an empty one, and for too few tokens to train on.

    The longest may be the one that validates: beside it there must be a window's tokens.
    """
    if len(documents) < 2:
        raise UserError(
            f"Expected two public documents or more, one of them to validate on, got {len(documents)}: a contextual "
            "inverter is trained on public text."
        )
    require_tokens(documents)
    lengths = [len(document) for document in documents]
    if sum(lengths) - max(lengths) < window:
        raise UserError(
            f"Expected public documents of {window} tokens or more together beside the longest, for the contextual "
            f"inverter to train on, got {sum(lengths) - max(lengths)}. Add public text."
        )


@dataclass(frozen=True, slots=True)
class Fitting:
    """One fit: the evidence, the network that learns to correct it, and the public text of both parts."""

    reader: Reader
    settings: ContextualTraining
    training: Text
    validation: Text
    seed: int
    card: Mapping[str, Json]

    @classmethod
    def of(
        cls, public: AttackerKnowledge, shape: NetworkShape, settings: ContextualTraining, about: Mapping[str, Json]
    ) -> "Fitting":
        """Returns the fit before its first step; about: what its card says of the attack.

        Raises UserError for too little public text.
        """
        require_text(public.documents, settings.window)
        aside = max(1, round(settings.validation_share * len(public.documents)))
        training, validation = (Text.of(part) for part in hold_out(public.documents, aside, public.seed))
        if len(training.tokens) < settings.window:
            raise UserError(
                f"Expected public documents of at least window={settings.window} tokens together to train on, "
                f"got {len(training.tokens)}."
            )
        evidence = Evidence.of(public, settings.common, shape.rank, training.tokens)
        rows = evidence.rows[evidence.placed(evidence.common)]
        network = ContextNetwork(evidence.width, rows, evidence.repeats, shape, public.seed).to(public.device)
        card = {
            **about,
            "mechanism": public.mechanism.name,
            "shape": asdict(shape),
            "training": {key: value for key, value in asdict(settings).items() if key != "checkpoint_every"},
            "seed": public.seed,
            **({} if public.device == CPU else {"device": public.device}),  # which rounds in its own way
            "evidence_sha256": evidence.sha256,
            "documents_sha256": documents_sha256(public.documents),
        }
        return cls(Reader(evidence, network, settings.window), settings, training, validation, public.seed, card)

    def run(self, folder: Path | None) -> None:
        """Trains the network, or reads it where the folder holds this very fit; goes on with one that was killed."""
        parameters = dict(self.reader.network.named_parameters())
        if folder is None:
            fit(self.step, parameters, self.settings.plan, validate=self.validate)
            return
        identity = hashlib.sha256(json.dumps(self.card).encode()).hexdigest()
        kept = folder / f"contextual-{identity[:16]}"
        plan = self.settings.plan
        made_once(kept, lambda place: run(self.step, parameters, plan, place, self.card, validate=self.validate))
        self._load(kept)

    def _load(self, folder: Path) -> None:
        """Reads the parameters of a fit; raises UserError where they are not what its card says."""
        path = folder / PARAMETERS_FILE
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf8"))
            same = all(card[key] == value for key, value in self.card.items())
            data = path.read_bytes()  # once: the hash is of what is parsed
            if not same or card["files"][PARAMETERS_FILE] != hashlib.sha256(data).hexdigest():
                raise ValueError("its content is not what its card says")
            parameters = load(data)
            wrong = [name for name, values in parameters.items() if not bool(torch.isfinite(values).all())]
            if wrong:
                raise ValueError(f"NaN or infinity in {wrong[0]}")
            self.reader.network.load_state_dict(parameters)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"Expected {folder} to hold a fit of this inverter: {error}. Delete it.") from None

    def step(self, number: int) -> Tensor:
        """Returns the loss of one step's windows, drawn from the number alone, nats a token, differentiable."""
        generator = simulation_generator(self.seed, "contextual windows", str(number))
        windows = self.training.draw(self.settings.window, self.settings.batch, generator)
        negatives = Negatives.draw(self.reader.evidence, self.settings.drawn, generator)
        kind = self.reader.evidence.rows.device.type
        with torch.autocast(kind, dtype=torch.bfloat16) if self.settings.bfloat16 else nullcontext():
            return sampled_loss(self.reader, windows, self.released(windows, str(number)), negatives)

    def validate(self) -> float:
        """Returns the exact loss on held-out windows, over the whole vocabulary; the same each time."""
        generator = simulation_generator(self.seed, "contextual validation")
        windows = self.validation.draw(self.settings.window, self.settings.validation_windows, generator)
        total = 0.0
        for window, observed in zip(windows, self.released(windows, "validation"), strict=True):
            for rows, scores in self.reader.blocks(observed):
                truth = self.reader.evidence.placed(window[rows])
                total += float(functional.cross_entropy(scores, truth, reduction="sum"))
        return total / sum(map(len, windows))

    def released(self, windows: Sequence[NDArray[np.int64]], purpose: str) -> list[Observed]:
        """Returns what the mechanism itself releases of each window, with noise of this purpose."""
        mechanism, source = self.reader.evidence.mechanism, SimulatedRandomness(self.seed, "contextual noise", purpose)
        return [mechanism.observed(mechanism.release(window.tolist(), source)) for window in windows]
