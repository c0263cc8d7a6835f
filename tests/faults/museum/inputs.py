"""Faults of the range, of what stands beside a row, and of the answer itself."""

import numpy as np

from museum.client import WIDE, Client


class _Clipping(Client):
    group = "clipping"
    trials = 500


class NoClip(_Clipping):
    name = "no clip"
    did = "left the clip to the encoder, which was trained to keep within it and mostly does"

    def prepare(self, values):
        if not np.isfinite(values).all():
            raise ValueError("Expected finite values.")
        return values

    def chances(self, values):
        return np.clip(super().chances(values), 0, 1)


class NormClip(_Clipping):
    name = "norm clipped for coordinates"
    did = "scaled the vector down to the norm c sqrt(d) instead of clipping each coordinate"

    def prepare(self, values):
        if not np.isfinite(values).all():
            raise ValueError("Expected finite values.")
        most = self.spec.clip * np.sqrt(self.spec.dim)
        largest = np.abs(values).max(axis=1, keepdims=True)
        norms = largest * np.linalg.norm(values / np.maximum(largest, 1e-300), axis=1, keepdims=True)
        return values * np.minimum(1, most / np.maximum(norms, 1e-300))

    def chances(self, values):
        return np.clip(super().chances(values), 0, 1)


class NanToZero(_Clipping):
    name = "NaN replaced by zero"
    did = "called nan_to_num before the clip"
    trials = 200

    def prepare(self, values):
        return super().prepare(np.nan_to_num(values, nan=0.0))


class InfinityIsAnEnd(_Clipping):
    name = "infinity taken for an end"
    did = "checked for NaN only: an overflow upstream is sent as if it were a value"
    trials = 200

    def prepare(self, values):
        if np.isnan(values).any():
            raise ValueError("Expected values, got NaN.")
        return np.clip(values, -self.spec.clip, self.spec.clip)


class WrapsAround(_Clipping):
    name = "range that wraps around"
    did = "turned values into bytes before the clip: 1.5 times the clip comes out below zero"

    def prepare(self, values):
        if not np.isfinite(values).all():
            raise ValueError("Expected finite values.")
        shares = np.fmod(np.rint(values / self.spec.clip * 127), 256).astype(np.int64).astype(np.int8)
        return np.clip(shares / 127, -1, 1) * self.spec.clip


class DropsBadRows(_Clipping):
    name = "bad rows replaced"
    did = "released the good rows of a batch and a random row for each with NaN"
    trials = 200

    def prepare(self, values):
        good = np.isfinite(values).all(axis=1, keepdims=True)
        return np.clip(np.where(good, values, 0.0), -self.spec.clip, self.spec.clip)


class _Batch(Client):
    group = "batch"
    trials = 500


class RangeOfBatch(_Batch):
    name = "scale taken from the batch"
    did = "used the largest value of the tensor as the clip"

    def prepare(self, values):
        values = super().prepare(values)
        largest = np.abs(values).max()
        return values * (self.spec.clip / largest if largest else 1.0)


class BatchCentred(_Batch):
    name = "batch's mean taken off"
    did = "centred codes by the mean of the batch, as a normalisation layer in training mode does"

    def prepare(self, values):
        values = super().prepare(values)
        return np.clip(values - 0.2 * values.mean(axis=0), -self.spec.clip, self.spec.clip)


class NextRowLeaks(_Batch):
    name = "neighbour mixed in"
    did = "ran a smoothing filter over the tokens before the noise"
    trials = 1000

    def prepare(self, values):
        values = super().prepare(values)
        return 0.9 * values + 0.1 * np.roll(values, 1, axis=0)


class QuietAmongZeros(_Batch):
    name = "noise scaled by the batch's spread"
    did = "divided by the standard deviation of the batch, with a floor"
    trials = 1000

    def prepare(self, values):
        values = super().prepare(values)
        return values * max(0.1, min(1.0, float(np.abs(values).mean()) / self.spec.clip))


class SingleTokenClean(_Batch):
    name = "a single token sent clean"
    did = "took the path for one token, which has no noise, after a batch had been split"

    def draw(self, chances):
        return super().draw(chances) if len(chances) > 1 else np.rint(self.spec.trials * chances).astype(np.int64)


class _Contract(Client):
    group = "contract"
    trials = 200


class SignedBytes(_Contract):
    name = "counts in signed bytes"
    did = "cast counts of 8 bits to int8: above 127 they are negative"
    spec = WIDE

    def draw(self, chances):
        return super().draw(chances).astype(np.int8)


class FloatCounts(_Contract):
    name = "values for counts"
    did = "released the dequantized values, with more digits than a count has"

    def draw(self, chances):
        return (2 * super().draw(chances) / self.spec.trials - 1) * self.spec.scale


class OneBuffer(_Contract):
    name = "one buffer for all calls"
    did = "wrote every answer into the same array, so that a kept answer changes"

    def draw(self, chances):
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((4096, self.spec.dim), dtype=np.int64)
        self.buffer[: len(chances)] = super().draw(chances)
        return self.buffer[: len(chances)]


class CutAtEight(_Contract):
    name = "long prompts cut"
    did = "released at most 8 tokens and said nothing"
    trials = 1000

    def draw(self, chances):
        return super().draw(chances[:8])


class FailsOnOne(_Contract):
    name = "a single token fails"
    did = "squeezed an axis of length 1 away"

    def draw(self, chances):
        return super().draw(chances).squeeze()


class ClipsInPlace(_Contract):
    name = "caller's values changed"
    did = "wrote the clipped values back into the array that it was given"

    def prepare(self, values):
        kept = super().prepare(values)
        values[:] = kept * (1 - 1e-9)
        return kept


EXHIBITS = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__ and kind.name
)
