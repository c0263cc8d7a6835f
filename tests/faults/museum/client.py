"""A careful client in double precision: every exhibit is this one with one thing wrong."""

from typing import Any, ClassVar

import numpy as np

from del_audit.evidence.verification import Verification, verify_mechanism
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack

SPEC = QuantizerSpec.from_mu(4, 18, 0.05, 20.0)
SMALL = QuantizerSpec.from_mu(4, 9, 0.05, 10.0)
"""Half a byte is left over in messages of an odd number of tokens."""
STRICT = QuantizerSpec.from_mu(2, 3, 0.05, 1.5)
WIDE = QuantizerSpec.from_mu(8, 6, 0.05, 20.0)


class Client:
    """What a client is to a battery.

    name, did: of an exhibit, and what real code did. group: of the finding that must reject. trials: rows within which
    it is caught. gives: what the client offers beside its release.
    """

    name: ClassVar[str] = ""
    did: ClassVar[str] = ""
    group: ClassVar[str] = ""
    trials: ClassVar[int] = 1000
    spec: ClassVar[QuantizerSpec] = SPEC
    gives: ClassVar[tuple[str, ...]] = ()
    forks: ClassVar[bool] = False

    def __init__(self, seed: int) -> None:
        self.rng = simulation_generator(seed, "client", type(self).__name__)
        self.tokens = 0
        self.calls = 0

    def release(self, values: np.ndarray) -> Any:
        self.calls += 1
        self.charge(values)
        return self.draw(self.chances(self.prepare(values)))

    def charge(self, values: np.ndarray) -> None:
        self.tokens += len(values)

    def prepare(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise ValueError("Expected finite values.")
        return np.clip(values, -self.spec.clip, self.spec.clip)

    def chances(self, values: np.ndarray) -> np.ndarray:
        return 0.5 + values / (2 * self.spec.scale)

    def draw(self, chances: np.ndarray) -> Any:
        return self.rng.binomial(self.spec.trials, chances)

    def message(self, values: np.ndarray) -> bytes:
        return pack(self.release(values), self.spec)

    def charged(self) -> int:
        return self.tokens

    def replay(self, values: np.ndarray, source: Any) -> np.ndarray:
        return StochasticQuantizer(self.spec).quantize(values, source)


def inspect(kind: type[Client], seed: int, trials: int | None = None, alpha: float = 1e-3) -> Verification:
    """Returns what the battery says of a client, with what the client gives it."""
    client = kind(seed)
    return verify_mechanism(
        client.release,
        kind.spec,
        trials=trials or kind.trials,
        alpha=alpha,
        rng=simulation_generator(seed, "battery"),
        processes=kind.forks,
        **{name: getattr(client, name) for name in kind.gives},
    )


def caught(kind: type[Client], seed: int, trials: int | None = None) -> bool:
    """Returns whether the finding that must reject does."""
    return any(finding.group == kind.group for finding in inspect(kind, seed, trials).rejected)
