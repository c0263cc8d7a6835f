"""Repeated release: the same tokens sent several times with fresh noise, as a mechanism that any attack runs on."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.channel import BLOCK_ROWS, Channel, exponentiate
from mechanisms.decoding import Decoder, LinearDecoder, PooledDecoder
from mechanisms.description import Description
from mechanisms.device_channel import Law, law_of
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import RandomSource
from mechanisms.rival_pipeline import RivalPipeline
from mechanisms.table_sums import cross_sum
from mechanisms.trained_projection import TrainedDecoder
from mechanisms.validation import whole_at_least
from mechanisms.wire import unpack

MAGIC = b"REP1"
_HEAD = struct.Struct("<4sI")
_LENGTH = struct.Struct("<I")
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Repeated:
    """`times` fresh releases of a prompt in one byte string; for a mechanism whose law is not written down.

    spec is that of ONE release: all of them together are a session of times x tokens tokens, and are accounted as that.
    observed: what each release shows, shape (tokens, times, ...). embeddings: their mean over the releases.
    """

    mechanism: ObservableMechanism
    times: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return repeated_name(self.mechanism.name, self.times)

    @property
    def spec(self) -> Description:
        """What one release is accounted by."""
        return self.mechanism.spec

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns all releases of a tokenized prompt; raises UserError as the mechanism's release does."""
        return join([self.mechanism.release(tokens, source) for _ in range(self.times)])

    def observed(self, message: bytes) -> Observed:
        """Returns what was released of each token, shape (tokens, times) or (tokens, times, dim).

        Raises UserError for another number of releases, of tokens that differ in number, and as the mechanism does.
        """
        return np.stack(_same_tokens([self.mechanism.observed(part) for part in split(message, self.times)]), axis=1)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the mean of the releases' embeddings, float32, shape (tokens, width); raises UserError as observed.

        For noisy embeddings that is the average which the noise dies out of.
        """
        parts = [self.mechanism.embeddings(part) for part in split(message, self.times)]
        return np.asarray(np.mean(_same_tokens(parts), axis=0), dtype=np.float32)


@runtime_checkable
class PosteriorServer(Protocol):
    """A mechanism whose server decodes by its law, as the rivals do."""

    table: NDArray[np.float32] | None
    decoding: str


@dataclass(frozen=True, slots=True)
class RepeatedChannel(Repeated):
    """The same for a mechanism whose law is known: the log-likelihoods of independent releases add up."""

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, sum over releases of log P(release | word) + log_prior[word]), float32, shape (rows, words).

        A word that any release rules out stays ruled out.
        """
        assert isinstance(self.mechanism, KnownChannel)
        for start in range(0, len(observed), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(observed)))
            total = np.zeros((0, 0), np.float32)
            for release in range(self.times):
                for part, block in self.mechanism.scores(observed[rows, release], None if release else log_prior):
                    if not total.size:
                        total = np.zeros((rows.stop - rows.start, block.shape[1]), np.float32)
                    total[part] += block
            yield rows, total

    def law_on(self, device: str) -> Law:
        """Returns the law in torch (mechanisms.device_channel): the sum of one release's, read one after another."""
        assert isinstance(self.mechanism, KnownChannel)
        one = law_of(self.mechanism, device)

        def law(observed: Observed) -> Tensor:
            total = one(observed[:, 0])
            for release in range(1, self.times):
                total += one(observed[:, release])
            return total

        return law

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns what the server's decoder makes of the pooled evidence, or the mean where it reads releases alone."""
        if not reads_evidence(self.mechanism):
            return Repeated.embeddings(self, message)
        return decode_evidence(self.mechanism, self, self.observed(message))


@dataclass(frozen=True, slots=True)
class RepeatedPipeline(Pipeline):
    """The same for DEL, in one matrix product whatever `times` is. Made by `repeated`.

    observed: the mean count, float64, which is sufficient: times x mean is Bin(times u, p). Averaged counts dequantize
    to averaged values, so every decoder reads them as they are; the channel's weights and offsets are times as large.
    spec is that of ONE release, as of Repeated.
    """

    times: int = 1

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns all releases of a tokenized prompt; raises UserError as CodeReleaser does."""
        return join([Pipeline.release(self, tokens, source) for _ in range(self.times)])

    def observed(self, message: bytes) -> Observed:
        """Returns the mean counts, float64, shape (tokens, dim); raises UserError as Repeated does."""
        counts = _same_tokens([unpack(part, self.spec) for part in split(message, self.times)])
        return np.asarray(np.sum(counts, axis=0, dtype=np.int64) / self.times)


@dataclass(frozen=True, slots=True)
class RepeatedRivalPipeline(RivalPipeline):
    """The same for another mechanism that is put together with a decoder, which reads the pooled evidence."""

    times: int = 1


def repeated(mechanism: ObservableMechanism, times: int) -> Repeated | RepeatedPipeline | RepeatedRivalPipeline:
    """Returns the mechanism that sends each prompt `times` times; its law is known where one release's is.

    Raises UserError unless times is a whole number >= 1, and for a mechanism that repeats already.
    """
    whole_at_least("times", times, 1)
    if not sends_once(mechanism):
        raise UserError(f"Expected a mechanism that sends a prompt once, got {mechanism.name!r}.")
    if isinstance(mechanism, RivalPipeline):
        pooled = RepeatedChannel(mechanism.mechanism, times)
        decoder = None if mechanism.decoder is None else _pooled(mechanism.decoder, pooled, times)
        return RepeatedRivalPipeline(pooled, mechanism.table, mechanism.prior, decoder, times)
    if not isinstance(mechanism, Pipeline):
        return (RepeatedChannel if isinstance(mechanism, KnownChannel) else Repeated)(mechanism, times)
    one = mechanism.channel
    channel = Channel(one.spec, one.weights * np.float32(times), one.offsets * np.float32(times))
    linear = refitted(mechanism, times)
    served = linear if mechanism.decoder is mechanism.linear else _pooled(mechanism.decoder, channel, times)
    name = repeated_name(mechanism.name, times)
    return RepeatedPipeline(
        mechanism.spec, mechanism.table, mechanism.prior, mechanism.encoder, channel, linear, served, name, times
    )


def sends_once(mechanism: ObservableMechanism) -> bool:
    """Returns whether the mechanism is none that `repeated` made."""
    return not isinstance(mechanism, Repeated | RepeatedPipeline | RepeatedRivalPipeline)


def repeated_name(name: str, times: int) -> str:
    """Returns what reports call a mechanism that is used so often on the same tokens."""
    return name if times == 1 else f"{name}, sent {times} times"


def join(messages: Sequence[bytes]) -> bytes:
    """Returns one byte string: magic, their number, then each with its length in front (4 bytes, little endian)."""
    parts = [_LENGTH.pack(len(message)) + message for message in messages]
    return b"".join([_HEAD.pack(MAGIC, len(messages)), *parts])


def split(message: bytes, times: int | None = None) -> list[bytes]:
    """Returns the messages that `join` joined; raises UserError unless they are whole, nothing else, and `times`.

    times: as many as there are, at least one, if left out.
    """
    if len(message) < _HEAD.size or message[: len(MAGIC)] != MAGIC:
        raise UserError(f"Expected a repeated release that starts with {MAGIC!r}, got {message[: len(MAGIC)]!r}.")
    _, number = _HEAD.unpack_from(message)
    if number != (number if times is None else times) or not number:
        raise UserError(f"Expected a message of {times or 'one or more'} releases, got one of {number}.")
    parts, at = [], _HEAD.size
    for _ in range(number):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(message, at)[0] if start <= len(message) else start
        if at > len(message):
            raise UserError(f"Expected {number} whole releases, got {len(message)} bytes: truncated.")
        parts.append(message[start:at])
    if at != len(message):
        raise UserError(f"Expected {at} bytes for {number} releases, got {len(message)}.")
    return parts


def reads_evidence(mechanism: ObservableMechanism) -> TypeGuard[PosteriorServer]:
    """Returns whether the mechanism's server decodes by its law, so that it can decode what several releases show."""
    return isinstance(mechanism, PosteriorServer) and mechanism.table is not None and mechanism.decoding != "plain"


def decode_evidence(server: PosteriorServer, channel: KnownChannel, observed: Observed) -> NDArray[np.float32]:
    """Returns what a server that reads_evidence makes of a pooled observation, float32, shape (tokens, width)."""
    assert server.table is not None  # as reads_evidence says
    embeddings = np.empty((len(observed), server.table.shape[1]), np.float32)
    for rows, scores in channel.scores(observed, _log_prior_of(server)):
        if server.decoding == "most-likely":
            embeddings[rows] = server.table[scores.argmax(axis=1)]
        else:
            totals, _ = exponentiate(scores)
            embeddings[rows] = scores @ server.table / totals[:, None]
    return embeddings


def _log_prior_of(server: PosteriorServer) -> NDArray[np.float64] | None:
    """Returns the logarithm of the prior that a server decodes by; None for a uniform one."""
    if hasattr(server, "log_prior"):
        return np.asarray(server.log_prior)
    prior = getattr(server, "prior", None)
    return None if prior is None else np.log(prior)


def _same_tokens(parts: list[NDArray[_Scalar]]) -> list[NDArray[_Scalar]]:
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise UserError(f"Expected releases of the same tokens, got releases of {sorted(lengths)} tokens.")
    return parts


def _pooled(decoder: Decoder, channel: KnownChannel, times: int) -> Decoder:
    """Returns the decoder with the pooled channel in the place of its own, on whatever device, if it has one."""
    if isinstance(decoder, PooledDecoder) and times > 1:
        return decoder.pooled(channel)
    if not hasattr(decoder, "channel"):
        return decoder
    placed, has_channel = getattr(decoder, "on_device", None), cast(Any, decoder)
    read = {} if placed is None else {"on_device": placed.over(channel)}
    pooled: Decoder = replace(has_channel, channel=channel, **read)
    return pooled


def refitted(mechanism: Pipeline, times: int) -> LinearDecoder | TrainedDecoder:
    """Returns the linear decoder; the closed form's is fitted again, to the variance (A^2 - v^2) / (u times) of means.

    One release's decoder shrinks, and turns, what is hardly noisy any more. A trained one stays as the server has it.
    """
    linear = mechanism.linear
    if not isinstance(linear, LinearDecoder) or times == 1:
        return linear
    spec, prior, codes = mechanism.spec, mechanism.prior, mechanism.encoder.codes.astype(np.float64)
    weighted = (codes - linear.centre) * prior[:, None]
    noise = (spec.scale**2 - prior @ codes**2) / (spec.trials * times)
    covariance = weighted.T @ (codes - linear.centre) + np.diag(noise)
    solution = np.linalg.solve(covariance, cross_sum(weighted, mechanism.table, linear.mean))
    return replace(linear, matrix=np.asarray(solution.T, dtype=np.float64))
