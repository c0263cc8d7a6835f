"""Counts of another law than the claimed one."""

import math

import numpy as np

from mechanisms.spec import QuantizerSpec
from museum.client import STRICT, Client


class _Law(Client):
    group = "law"


class ScaleWithoutClip(_Law):
    name = "scale without the clip's part"
    did = "computed the scale as 2 c sqrt(u d) / mu, without the 1 under the root: A^2 - c^2 where A^2 was meant"
    trials = 200

    def chances(self, values):
        scale = 2 * self.spec.clip * math.sqrt(self.spec.trials * self.spec.dim) / self.spec.mu
        return 0.5 + values / (2 * scale)


class ScaleOnePercentLow(_Law):
    name = "scale 1% too small"
    did = "rounded the scale in a configuration file"
    trials = 4000

    def chances(self, values):
        return 0.5 + values / (2 * 0.99 * self.spec.scale)


class WrongClip(_Law):
    name = "clip of the whole vector for one coordinate's"
    did = "took c for a bound on the norm and clipped coordinates to c / sqrt(d)"
    trials = 200

    def prepare(self, values):
        return np.clip(super().prepare(values), *(s * self.spec.clip / math.sqrt(self.spec.dim) for s in (-1, 1)))


class OneTrialMore(_Law):
    name = "2^n trials for 2^n - 1"
    did = "drew 2^n trials and cut the count that does not fit"
    trials = 200

    def draw(self, chances):
        return np.minimum(self.rng.binomial(self.spec.trials + 1, chances), self.spec.trials)


class SignReversed(_Law):
    name = "sign reversed"
    did = "counted failures for successes"
    trials = 200

    def chances(self, values):
        return super().chances(-values)


class StuckCoordinate(_Law):
    name = "stuck coordinate"
    did = "never wrote the last coordinate of the buffer"
    trials = 200

    def draw(self, chances):
        counts = super().draw(chances)
        counts[:, -1] = 7
        return counts


class RoundsAboveThreshold(_Law):
    name = "rounding above a threshold"
    did = "sent values beyond 90% of the clip as the end, without noise, to save random bits"
    trials = 200

    def draw(self, chances):
        far = np.abs(chances - 0.5) > 0.45 * self.spec.clip / self.spec.scale
        return np.where(far, self.spec.trials * (chances > 0.5), super().draw(chances))


class Saturated(_Law):
    name = "saturated probabilities"
    did = "compared rand <= 1/2 + x / (2 A) with a scale below the clip: some trials are certain"
    trials = 200

    def chances(self, values):
        return np.clip(0.5 + values / (2 * 0.9 * self.spec.clip), 0, 1)


class SomeSentClean(_Law):
    name = "one coordinate in 500 sent clean"
    did = "skipped the noise where a mask of a dropout layer said so"
    trials = 15_000

    def draw(self, chances):
        clean = self.rng.random(chances.shape) < 1 / 500
        return np.where(clean, self.spec.trials * (chances > 0.5), super().draw(chances))


class HalfSentClean(_Law):
    name = "dropout-style noise"
    did = "applied the noise to a random half of the rows, as a layer of dropout does"
    trials = 200

    def draw(self, chances):
        noisy = self.rng.random((len(chances), 1)) < 0.5
        return np.where(noisy, super().draw(chances), np.rint(self.spec.trials * chances).astype(np.int64))


class BiasedModulo(_Law):
    name = "biased modulo"
    did = "made per cents of a random byte by % 100: 0 to 55 come three times, 56 to 99 twice"
    trials = 200

    def draw(self, chances):
        drawn = self.rng.integers(0, 256, (self.spec.trials, *chances.shape)) % 100
        return (drawn < np.rint(100 * chances)).sum(axis=0)


class LessOrEqual(_Law):
    name = "<= for < on bytes"
    did = "compared a random byte with <= a threshold of 8 bits: every chance is 1/256 too large"
    trials = 3000

    def draw(self, chances):
        drawn = self.rng.integers(0, 256, (self.spec.trials, *chances.shape))
        return (drawn <= np.rint(256 * chances)).sum(axis=0)


class Bfloat16Probabilities(_Law):
    name = "bfloat16 probabilities"
    did = "computed chances in bfloat16: 8 bits"
    trials = 20_000

    def chances(self, values):
        exact = super().chances(values).astype(np.float32).view(np.uint32)
        rounded = (exact + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
        return rounded.view(np.float32).astype(np.float64)


class RoundedGaussian(_Law):
    name = "rounded Gaussian"
    did = "drew a normal number of the binomial's mean and variance and rounded it"
    trials = 1500

    def draw(self, chances):
        u = self.spec.trials
        drawn = self.rng.normal(u * chances, np.sqrt(u * chances * (1 - chances)))
        return np.clip(np.rint(drawn), 0, u).astype(np.int64)


class Poisson(_Law):
    name = "Poisson for binomial"
    did = "took the limit of rare successes where they are not rare"
    trials = 200

    def draw(self, chances):
        return np.minimum(self.rng.poisson(self.spec.trials * chances), self.spec.trials)


class StochasticRounding(_Law):
    name = "stochastic rounding"
    did = "rounded u p up or down at random: the right mean, hardly any noise"
    trials = 200

    def draw(self, chances):
        return np.floor(self.spec.trials * chances + self.rng.random(chances.shape)).astype(np.int64)


class OneDraw(_Law):
    name = "one draw for all trials"
    did = "compared the same uniform number u times"
    trials = 200

    def draw(self, chances):
        return self.spec.trials * (self.rng.random(chances.shape) < chances).astype(np.int64)


class ScaledByRoot(_Law):
    name = "noise scaled by sqrt(dim)"
    did = "divided the noise by sqrt(d), for a bound on the norm that was meant for a coordinate"
    trials = 200

    def draw(self, chances):
        centre = self.spec.trials * chances
        noise = (super().draw(chances) - centre) / math.sqrt(self.spec.dim)
        return np.clip(np.rint(centre + noise), 0, self.spec.trials).astype(np.int64)


class OffInEvalMode(_Law):
    name = "noise off in eval mode"
    did = "switched the noise off with model.eval(), which a checkpoint calls"
    trials = 1000

    def draw(self, chances):
        if self.calls <= 60:
            return super().draw(chances)
        return np.rint(self.spec.trials * chances).astype(np.int64)


class Rolled(_Law):
    name = "coordinates moved"
    did = "wrote coordinates one place on, after a bias column had been dropped"
    trials = 200

    def chances(self, values):
        return super().chances(np.roll(values, 1, axis=1))


class PaddingClean(_Law):
    name = "padding sent clean"
    did = "took rows of zeros for padding and sent them without noise"
    trials = 200

    def draw(self, chances):
        padding = (chances == 0.5).all(axis=1, keepdims=True)
        return np.where(padding, self.spec.trials // 2, super().draw(chances))


class FirstTokenClean(_Law):
    name = "first token clean"
    did = "left the first token alone, as a one-shot flag in a patched forward does"
    trials = 200

    def draw(self, chances):
        counts = super().draw(chances)
        counts[0] = np.rint(self.spec.trials * chances[0])
        return counts


class GainAfterClip(_Law):
    name = "clip before the projection"
    did = "clipped what went into the projection instead of what came out: codes are a tenth larger than the clip"
    trials = 200

    def prepare(self, values):
        return 1.1 * super().prepare(values)


class Tanh(_Law):
    name = "tanh for clip"
    did = "replaced the clip by c tanh(v / c) in one place, not in the accountant's"
    trials = 200

    def prepare(self, values):
        return self.spec.clip * np.tanh(super().prepare(values) / self.spec.clip)


class Drifts(_Law):
    name = "scale that drifts"
    did = "lowered the noise by a schedule that was meant for training: 0.2% a call"
    trials = 4000

    def chances(self, values):
        scale = max(1.05 * self.spec.clip, self.spec.scale * 0.998**self.calls)
        return 0.5 + values / (2 * scale)


class WrongTableEntry(_Law):
    name = "one wrong level in a table"
    did = "read a table of chances in which one of 255 entries had lost its sign"
    trials = 15_000

    def chances(self, values):
        exact = super().chances(values)
        return np.where(np.rint(values / self.spec.clip * 127) == 40, 1 - exact, exact)


class OffAfterError(_Law):
    name = "noise off after an error"
    did = "left a flag set where a bad value raised: every later call is sent clean"
    trials = 200

    def release(self, values):
        if not np.isfinite(values).all():
            self.failed = True
        return super().release(values)

    def draw(self, chances):
        if getattr(self, "failed", False):
            return np.rint(self.spec.trials * chances).astype(np.int64)
        return super().draw(chances)


class FirstCallClean(_Law):
    name = "first call clean"
    did = "made the generator on first use, after the first call had gone out without noise"
    trials = 1000

    def draw(self, chances):
        return super().draw(chances) if self.calls > 1 else np.rint(self.spec.trials * chances).astype(np.int64)


class TruncatedTails(_Law):
    name = "tails cut"
    did = "drew again where a count was more than two standard deviations out, as an outlier"
    trials = 500

    def draw(self, chances):
        u = self.spec.trials
        counts = super().draw(chances)
        far = np.abs(counts - u * chances) > 2 * np.sqrt(u * chances * (1 - chances))
        return np.where(far, super().draw(chances), counts)


class Watermark(_Law):
    name = "sign in the last bit"
    did = "used the last count's lowest bit for a checksum of the first coordinate"
    group = "guarantee"
    trials = 10_000

    def release(self, values):
        counts = super().release(values)
        counts[:, -1] = (counts[:, -1] & ~1) | (values[:, 0] > 0)
        return counts


class CleanCoordinate(_Law):
    name = "one coordinate sent clean"
    did = "quantized the first coordinate, a bias, without noise"
    group = "guarantee"
    trials = 6000

    def draw(self, chances):
        counts = super().draw(chances)
        counts[:, 0] = np.rint(self.spec.trials * chances[:, 0])
        return counts


class OtherConfiguration(_Law):
    name = "figures of another configuration"
    did = "quoted the guarantee of mu = 1.5 and deployed the scale of mu = 5"
    group = "guarantee"
    trials = 20_000
    spec = STRICT

    def chances(self, values):
        deployed = QuantizerSpec.from_mu(self.spec.bits, self.spec.dim, self.spec.clip, 5.0)
        return 0.5 + values / (2 * deployed.scale)


EXHIBITS = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__ and kind.name
)
