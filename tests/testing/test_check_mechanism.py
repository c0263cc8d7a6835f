"""The conformance suite as a library: a mechanism that keeps the contract passes, and each planted fault is named."""

import dataclasses
import threading

import numpy as np
import pytest
from scipy.stats import binom
from toy_mechanism import Toy, ToySpec
from toy_own_mechanism import Bins

from del_audit.testing import Check, Report, check_mechanism, require_conformance
from mechanisms.errors import UserError
from mechanisms.public_words import PublicWords
from mechanisms.tokens import checked_tokens

WORDS = 40
TABLE = np.random.default_rng(0).standard_normal((WORDS, 6)).astype(np.float32)
PUBLIC = PublicWords(TABLE, [list(range(WORDS))])
NAMES = [
    "description",
    "source only",
    "fresh noise",
    "length",
    "observed",
    "embeddings",
    "damaged messages",
    "foreign messages",
    "bad prompts",
    "copies",
    "scores",
    "law",
    "independence",
    "claimed epsilon",
]
FAULTS = {}


def fault(*named, also=()):
    """Registers a faulty mechanism under the tests that must fail, and those that may fail too; no other may."""

    def register(faulty):
        FAULTS[faulty.__name__] = (faulty, set(named), {*named, *also})
        return faulty

    return register


@dataclasses.dataclass(frozen=True)
class HalfNamedSpec:
    bins: int
    decay: float
    words: int

    @property
    def kept(self):
        return dataclasses.replace(Bins.of(PUBLIC).spec, bins=self.bins)

    def to_dict(self):
        return self.kept.to_dict()

    @property
    def fingerprint(self):
        return self.kept.fingerprint


class WithSpec(Bins):
    """Bins whose description is of another kind."""

    def __init__(self, spec, table):
        super().__init__(spec, table)
        self.inner, self.spec = spec, self.changed(spec)

    def changed(self, spec):
        raise NotImplementedError


@fault("description")
class Forgetful(WithSpec):
    """The fingerprint leaves out the decay."""

    def changed(self, spec):
        return HalfNamedSpec(spec.bins, spec.decay, spec.words)


@fault("description")
class Thawed(WithSpec):
    def changed(self, spec):
        class Open:
            bins, words, fingerprint, to_dict = spec.bins, spec.words, spec.fingerprint, staticmethod(spec.to_dict)

        return Open()


@fault("description")
class Renamed(WithSpec):
    """A fingerprint that is no hash of the fields."""

    def changed(self, spec):
        class Other(type(spec)):
            fingerprint = b"0" * 32

        return Other(spec.bins, spec.decay, spec.words)


@fault("description")
class Unnamed(Bins):
    name = None


@fault("source only", "copies")
class OwnNoise(Bins):
    def noisy(self, bins, drawn):
        return super().noisy(bins, np.random.default_rng().integers(0, 1 << 32, len(drawn)))


@fault("fresh noise", also=["law", "independence"])
class FixedNoise(Bins):
    def noisy(self, bins, drawn):
        return super().noisy(bins, np.random.default_rng(1).integers(0, 1 << 32, len(drawn)))


@fault("fresh noise", "law", "independence")
class SharedNoise(Bins):
    def noisy(self, bins, drawn):
        return super().noisy(bins, np.full(len(drawn), drawn[0]))


@fault("fresh noise", "independence", also=["law"])
class CachedWords(Bins):
    """Equal tokens of a prompt are released alike."""

    def release(self, tokens, source):
        tokens = checked_tokens(tokens, WORDS)
        first = np.array([tokens.tolist().index(token) for token in tokens])
        return self.format.pack(self.noisy(self.bin_of[tokens], source.words(len(tokens)))[first, None])


@fault("independence")
class NoiseOfTheNeighbour(Bins):
    """Every second token is released with the noise of the one before, reversed: each alone has the law."""

    def noisy(self, bins, drawn):
        drawn = drawn.copy()
        drawn[1::2] = ~drawn[: len(drawn) // 2 * 2 : 2]
        return super().noisy(bins, drawn)


@fault("length")
class OneBitTooMany(Bins):
    token_bits = 4


@fault("length")
class NoBits(Bins):
    token_bits = 0


class Padded(Bins):
    """Messages end in what is not read: so many bytes as the prompt says."""

    token_bits = None

    def padding(self, tokens):
        return int(max(tokens)) % 2

    def release(self, tokens, source):
        return super().release(tokens, source) + b"\0" * self.padding(tokens)

    def observed(self, message):
        try:
            return super().observed(message)
        except UserError:
            if message[-1:] != b"\0":
                raise
            return super().observed(message[:-1])


@fault("length", "damaged messages")
class TellsByLength(Padded):
    pass


@fault("observed", "damaged messages", "copies", "scores", "law", "independence", "claimed epsilon", "fresh noise")
class ObservedList(Bins):
    def observed(self, message):
        return super().observed(message).tolist()

    def embeddings(self, message):
        return TABLE[super().observed(message)]


@fault("embeddings", "damaged messages", "copies")
class Doubles(Bins):
    def embeddings(self, message):
        return super().embeddings(message).astype(np.float64)


@fault("embeddings", "damaged messages", "copies")
class NotANumber(Bins):
    def embeddings(self, message):
        return super().embeddings(message) * np.float32(np.nan)


@fault("embeddings", "damaged messages", "copies")
class Narrow(Bins):
    def embeddings(self, message):
        return super().embeddings(message)[:, 1:]


@fault("embeddings")
class WrongBatch(Bins):
    def embeddings_of(self, messages):
        return [2 * self.embeddings(message) for message in messages]


@fault("embeddings")
class ShortBatch(Bins):
    def embeddings_of(self, messages):
        return [self.embeddings(message) for message in messages[1:]]


@fault("damaged messages", "foreign messages")
class ReadsAnything(Bins):
    """A byte per token and no header."""

    token_bits = 8

    def release(self, tokens, source):
        return super().observed(super().release(tokens, source)).astype(np.uint8).tobytes()

    def observed(self, message):
        return np.frombuffer(message, np.uint8).astype(np.int64) % self.spec.bins


@fault("damaged messages", "foreign messages")
class CrashesOnOthers(Bins):
    def observed(self, message):
        try:
            return super().observed(message)
        except UserError as error:
            raise IndexError("out of range") from error


@fault("bad prompts")
class DrawsFirst(Bins):
    def release(self, tokens, source):
        drawn = source.words(len(tokens))
        return self.format.pack(self.noisy(self.bin_of[checked_tokens(tokens, WORDS)], drawn)[:, None])


@fault("bad prompts")
class Wraps(Bins):
    """Python's negative numbers count from the end."""

    def release(self, tokens, source):
        return super().release([token % WORDS if token < 0 else token for token in tokens], source)


@fault("copies")
class Locked(Bins):
    def __init__(self, spec, table):
        super().__init__(spec, table)
        self.lock = threading.Lock()


class Scored(Bins):
    """Bins with other scores."""

    def changed(self, rows, scores):
        return rows, scores

    def scores(self, observed, log_prior=None):
        for rows, scores in super().scores(observed):
            rows, scores = self.changed(rows, scores)
            yield rows, scores if log_prior is None else (scores + log_prior).astype(scores.dtype)


@fault("scores", "law", "independence", "claimed epsilon")
class DoubleScores(Scored):
    def changed(self, rows, scores):
        return rows, scores.astype(np.float64)


@fault("scores", "law", "independence", "claimed epsilon")
class FewerWords(Scored):
    def changed(self, rows, scores):
        return rows, scores[:, 1:]


@fault("scores", "law", "independence", "claimed epsilon")
class FewerRows(Scored):
    def changed(self, rows, scores):
        return slice(0, rows.stop - 1), scores[:-1]


@fault("scores", "law", "independence", "claimed epsilon")
class NaNScores(Scored):
    def changed(self, rows, scores):
        return rows, scores * np.float32(np.nan)


@fault("scores", "law", "independence", "claimed epsilon")
class NoWordAtAll(Scored):
    def changed(self, rows, scores):
        return rows, np.full_like(scores, -np.inf)


@fault("scores")
class NoPrior(Bins):
    def scores(self, observed, log_prior=None):
        return super().scores(observed)


@fault("scores")
class PriorTwice(Bins):
    def scores(self, observed, log_prior=None):
        return super().scores(observed, None if log_prior is None else 2 * log_prior)


@fault("scores", also=["law", "independence", "claimed epsilon"])
class LooksAround(Scored):
    """A token's scores depend on its message."""

    def changed(self, rows, scores):
        return rows, scores + np.float32(0.5) * scores.mean(axis=0)


@fault("law", "claimed epsilon")
class TooSure(Scored):
    def changed(self, rows, scores):
        return rows, scores * np.float32(1.2)


@fault("law")
class NotSureEnough(Scored):
    def changed(self, rows, scores):
        return rows, scores * np.float32(0.8)


@fault("law")
class OneWordOff(Scored):
    """Each word has the law of the one before."""

    def changed(self, rows, scores):
        return rows, np.roll(scores, 4, axis=1)


@fault("law")
class LessNoiseThanStated(Bins):
    def __init__(self, spec, table):
        super().__init__(spec, table)
        self.ends = np.cumsum(np.rint(self.law_of(1.2 * spec.decay) * 2.0**32), axis=1)
        self.ends[:, -1] = 2.0**32


@fault("law", "claimed epsilon")
class SaysImpossible(Scored):
    """The farthest bins are released, and said to be impossible."""

    def changed(self, rows, scores):
        return rows, np.where(scores < scores.max(axis=1, keepdims=True) - 1.9, -np.inf, scores).astype(np.float32)


@fault("law", also=["fresh noise"])
class SlipsRarely(Bins):
    """One token of 4,096 is released at the other end, which the law makes all but impossible."""

    @classmethod
    def of(cls, public):
        return super().of(public, decay=12.0)

    def noisy(self, bins, drawn):
        return np.where(drawn % 4096 == 7, self.spec.bins - 1 - bins, super().noisy(bins, drawn))


@fault("claimed epsilon")
class ClaimsTooLittle(Bins):
    def token_epsilon(self, delta):
        return 0.9 * super().token_epsilon(delta)


@fault("claimed epsilon")
class ClaimsTooLittleAtDelta(Bins):
    def token_epsilon(self, delta):
        return super().token_epsilon(delta) if delta < 0.01 else 0.5


@fault("claimed epsilon")
class ClaimRises(Bins):
    def token_epsilon(self, delta):
        return 3.0 + delta


@fault("claimed epsilon")
class ClaimsNothingOfANumber(Bins):
    def token_epsilon(self, delta):
        return float("nan")


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_named(name):
    faulty, must, may = FAULTS[name]
    report = check_mechanism(faulty.of(PUBLIC), PUBLIC)
    assert must <= {check.name for check in report.failed} <= may <= set(NAMES), str(report)
    assert not report.passed


def test_a_mechanism_that_keeps_the_contract_passes_every_test():
    report = require_conformance(Bins.of(PUBLIC, decay=0.3))
    assert report.passed
    assert report.mechanism == "toy bins"
    assert [check.name for check in report.checks] == NAMES
    assert not [check for check in report.checks if check.reason.startswith("not tested")]
    assert "passed  length: 40 bytes for 64 tokens, 3 bits per token" in str(report).splitlines()
    assert check_mechanism(Bins.of(PUBLIC), PUBLIC, seed=1) != check_mechanism(Bins.of(PUBLIC, 3), PUBLIC, seed=1)


def test_the_same_seed_repeats_the_report():
    assert check_mechanism(Bins.of(PUBLIC), seed=7) == check_mechanism(Bins.of(PUBLIC), PUBLIC, seed=7)


class Silent:
    """What every mechanism has, of another one, and nothing optional."""

    def __init__(self, inner):
        self.name, self.spec, self.table = inner.name, inner.spec, inner.table
        self.release, self.observed, self.embeddings = inner.release, inner.observed, inner.embeddings


def test_what_a_mechanism_does_not_state_is_not_tested():
    report = check_mechanism(Silent(Bins.of(PUBLIC)))
    assert report.passed
    assert [check.name for check in report.checks if check.reason.startswith("not tested")] == NAMES[-4:]


@pytest.mark.parametrize(
    ("claimed", "passed"), [(2.5, True), (np.inf, True), (-1.0, False), ("2", False), (True, False)]
)
def test_a_claim_without_a_law_is_only_read(claimed, passed):
    class Claims(Silent):
        def token_epsilon(self, delta):
            return claimed

    found = check_mechanism(Claims(Bins.of(PUBLIC))).checks[-1]
    assert (found.name, found.passed) == ("claimed epsilon", passed)
    assert ("without a stated law" if passed else f"token_epsilon(0) is {claimed!r}, expected a number") in found.reason


def test_a_claim_that_holds_at_delta_passes_and_one_below_it_does_not():
    """The exact delta of two bins at the ends, from the law's own numbers, a little above and far below."""

    class Profile(Bins):
        share = 1.0

        def token_epsilon(self, delta):
            if not delta:
                return super().token_epsilon(0.0)
            grid = np.linspace(0, super().token_epsilon(0.0), 400)
            ends = self.law[0], self.law[-1]
            deltas = np.array([np.maximum(ends[0] - np.exp(one) * ends[1], 0).sum() for one in grid])
            return float(self.share * grid[np.argmax(deltas <= delta)])

    class TooSmall(Profile):
        share = 0.5

    assert check_mechanism(Profile.of(PUBLIC)).passed
    failed = check_mechanism(TooSmall.of(PUBLIC)).failed
    assert [check.name for check in failed] == ["claimed epsilon"]
    assert "is contradicted by releases of word" in failed[0].reason


class Ramp(Bins):
    """Sends the word's place with Gaussian noise as a float: outputs that never come twice. stated: by the scores."""

    deviation, stated = 2.0, 2.0

    def release(self, tokens, source):
        places = checked_tokens(tokens, WORDS) / 4
        first, second = (source.words(2 * len(places)).reshape(2, -1) + 0.5) / 2.0**32
        noise = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
        sent = (places + self.deviation * noise).astype("<f8").tobytes()
        return self.spec.fingerprint[:8] + len(places).to_bytes(4, "little") + sent

    def observed(self, message):
        head, sent = message[:12], message[12:]
        if head[:8] != self.spec.fingerprint[:8] or len(sent) != 8 * int.from_bytes(head[8:], "little") or not sent:
            raise UserError("Expected a message of this mechanism, got another.")
        values = np.frombuffer(sent, "<f8")
        if not (np.abs(values) < 1e3).all():
            raise UserError("Expected values within 1000 in the message, got others.")
        return values[:, None]

    def embeddings(self, message):
        return np.tile(self.observed(message), 6).astype(np.float32)

    def scores(self, observed, log_prior=None):
        block = -((observed - np.arange(WORDS) / 4) ** 2) / (2 * self.stated**2)
        yield slice(0, len(observed)), (block if log_prior is None else block + log_prior).astype(np.float32)

    token_bits = 64

    def token_epsilon(self, delta):
        return np.inf


@pytest.mark.parametrize("stated", [1.8, 2.0, 2.2])
def test_a_density_is_held_against_its_releases_too(stated):
    """Its deviation within 10 percent, from outputs of which each comes once."""
    mechanism = Ramp.of(PUBLIC)
    mechanism.stated = stated
    failed = [check.name for check in check_mechanism(mechanism).failed]
    assert failed == ([] if stated == 2.0 else ["law"])


def test_false_alarms_are_rarer_than_alpha():
    """At alpha 0.1 and 30 seeds: more alarms than the binomial law allows at 1e-6 would say that it does not hold."""
    alarms = sum(not check_mechanism(Bins.of(PUBLIC), seed=seed, alpha=0.1).passed for seed in range(30))
    assert binom.sf(alarms - 1, 30, 0.1) > 1e-6


def test_a_mechanism_without_a_header_is_told_all_that_it_lacks():
    """The toy of the accountant's tests, which sends four bytes a token and checks nothing."""
    toy = Toy(ToySpec(WORDS, 9_000), TABLE)
    failed = {check.name for check in check_mechanism(toy).failed}
    assert failed == {"damaged messages", "foreign messages", "bad prompts"}
    with pytest.raises(UserError, match=r"got 3 that failed: damaged.*; foreign messages: .*; bad prompts: "):
        require_conformance(toy)


def test_what_is_no_mechanism_fails_every_test_and_raises_nothing():
    class Nothing:
        table = TABLE

    report = check_mechanism(Nothing())
    assert {check.name for check in report.failed} == set(NAMES[:10])
    assert report.failed[1].reason == "raised AttributeError: 'Nothing' object has no attribute 'release'"


def test_exit_of_a_mechanisms_code_is_a_failed_test():
    class Exits(Bins):
        def embeddings(self, message):
            raise SystemExit(0)

    failed = {check.name: check.reason for check in check_mechanism(Exits.of(PUBLIC)).failed}
    assert failed["embeddings"] == "raised SystemExit: 0"


@pytest.mark.parametrize("alpha", [0.0, -1.0, 0.2, float("nan")])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(UserError, match=r"Expected 0 < alpha <= 0.1, got alpha="):
        check_mechanism(Bins.of(PUBLIC), alpha=alpha)


def test_a_mechanism_without_its_table_needs_the_public_words():
    mechanism = Bins.of(PUBLIC)
    mechanism.table = None
    with pytest.raises(UserError, match=r"pass public=PublicWords"):
        check_mechanism(mechanism)


def test_a_seed_must_be_a_whole_number():
    with pytest.raises(UserError, match="seed"):
        check_mechanism(Bins.of(PUBLIC), seed=-1)


def test_a_report_tells_what_failed():
    report = Report("some noise", (Check("length", True, "64 bytes"), Check("law", False, "too sure")))
    assert not report.passed
    assert report.failed == report.checks[1:]
    assert str(report) == "passed  length: 64 bytes\nFAILED  law: too sure"
