"""Faults of the message, and of arithmetic that only chosen random words show."""

import time
import zlib

import numpy as np

from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.randomness import simulation_generator
from mechanisms.sampler import BinomialTable
from mechanisms.spec import WORD_BITS
from mechanisms.wire import HEADER_BYTES, pack
from museum.client import SMALL, Client


class _Message(Client):
    group = "message"
    trials = 200
    gives = ("message",)


class PaddedWithMemory(_Message):
    name = "padded with memory"
    did = "rounded the message up to 16 bytes with what the buffer held before"

    def message(self, values):
        sent = super().message(values)
        return sent + values.tobytes()[: -len(sent) % 16]


class SpareBits(_Message):
    name = "spare bits set"
    did = "left the last bits of the buffer as they were: they hold a coordinate's sign"
    spec = SMALL

    def message(self, values):
        sent = bytearray(super().message(values))
        if len(values) % 2:
            sent[-1] |= 1 if values[-1, -1] > 0 else 2
        return bytes(sent)


class HeaderTells(_Message):
    name = "header that tells"
    did = "wrote how many tokens are not padding into the header's last byte"

    def message(self, values):
        sent = bytearray(super().message(values))
        sent[HEADER_BYTES - 1] = int((values != 0).any(axis=1).sum()) & 0xFF
        return bytes(sent)


class SortedRows(_Message):
    name = "sorted tokens"
    did = "sorted the tokens of a message by their code, to compress it better"

    def message(self, values):
        return super().message(values[np.argsort(values[:, 0], kind="stable")])


class OrderTells(_Message):
    name = "token order leaks in the message"
    did = "moved the largest token to the front of the message"
    trials = 1000

    def message(self, values):
        first = int(values.sum(axis=1).argmax())
        return super().message(np.concatenate([values[[first]], np.delete(values, first, axis=0)]))


class Compressed(_Message):
    name = "compressed counts"
    did = "compressed the message: its length follows what is in it"

    def message(self, values):
        sent = super().message(values)
        return sent[:HEADER_BYTES] + zlib.compress(sent[HEADER_BYTES:])


class SlowForSome(_Message):
    name = "time that tells"
    did = "looped over the positive values in Python: the message leaves later"

    def message(self, values):
        sent = super().message(values)
        end = time.perf_counter() + 3e-6 * float((values > 0).sum())
        while time.perf_counter() < end:
            pass
        return sent


class SlowRelease(Client):
    name = "release that takes its time"
    did = "drew until a count fitted, which takes longer on one side"
    group = "message"
    trials = 12_000

    def release(self, values):
        counts = super().release(values)
        end = time.perf_counter() + 2e-6 * float((values > 0).sum())
        while time.perf_counter() < end:
            pass
        return counts


class MessageAsText(_Message):
    name = "message as text"
    did = "sent the message in hexadecimal, as a string"

    def message(self, values):
        return super().message(values).hex()


class MessageSeeded(_Message):
    name = "message with noise of its own"
    did = "tested release, and seeded the generator of the path that packs messages"

    def message(self, values):
        chances = self.chances(self.prepare(values))
        return pack(simulation_generator(0, "message").binomial(self.spec.trials, chances), self.spec)


class MessageClean(_Message):
    name = "message without noise"
    did = "packed the rounded codes, and drew noise for the log only"

    def message(self, values):
        chances = self.chances(self.prepare(values))
        return pack(np.rint(self.spec.trials * chances).astype(np.int64), self.spec)


class _Replayed(Client):
    group = "known answers"
    trials = 200
    gives = ("replay",)

    def thresholds(self):
        raise NotImplementedError

    def replay(self, values, source):
        table = BinomialTable.of(self.thresholds(), self.spec.trials)
        return table.sample(StochasticQuantizer(self.spec).levels(values), source)


class WordsIgnored(_Replayed):
    name = "words of its own"
    did = "drew from a generator of its own, whatever source it was given"

    def replay(self, values, source):
        return self.draw(self.chances(self.prepare(values)))


class Float32Probabilities(_Replayed):
    name = "float32 probabilities"
    did = "computed chances in float32: 24 bits for 32"

    def thresholds(self):
        exact = level_thresholds(self.spec) / float(1 << WORD_BITS)
        return (exact.astype(np.float32).astype(np.float64) * (1 << WORD_BITS)).astype(np.int64).tolist()


class ThresholdOneUp(_Replayed):
    name = "<= for < on 32-bit words"
    did = "compared words with <=: every chance is 2^-32 too large"

    def thresholds(self):
        return [int(threshold) + 1 for threshold in level_thresholds(self.spec)]


class OneThresholdOff(_Replayed):
    name = "one wrong entry in a table"
    did = "lost the last bit of one of 255 thresholds in a file"

    def thresholds(self):
        exact = level_thresholds(self.spec).tolist()
        return [threshold ^ (at == 200) for at, threshold in enumerate(exact)]


EXHIBITS = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__module__ == __name__ and kind.name
)
