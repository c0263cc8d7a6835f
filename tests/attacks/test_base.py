import numpy as np
import pytest

from attacks.base import AttackerKnowledge, observe
from attacks.inversion import CommonestWord
from attacks.outcome import Outcome, invert
from attacks.ranking import STRIDE, Guesses, best_words, rank
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack, unpack


class Spy:
    """Guesses word 3 first, and keeps what it was shown."""

    name, version, context_free = "spy", 7, True

    def __init__(self, spec):
        self.shown, self.spec = [], spec

    def guess(self, *arguments, **options):
        self.shown.append((arguments, options))
        lengths = [len(unpack(message, self.spec)) for message in arguments[0]]
        return [
            Guesses(np.tile(np.int32([3, 1, 0]), (n, 1)), np.tile(np.float32([2, 1, 0.5]), (n, 1))) for n in lengths
        ]


@pytest.fixture
def pipeline(random_public):
    return random_public(bits=4, dim=3, mu=5.0, words=9, seed=0)


def test_an_observation_is_the_counts_of_each_message_in_order(pipeline, release):
    messages, _ = release(pipeline, 3, seed=0)
    observed = observe(pipeline, messages)
    assert [part.shape for part in observed] == [(50, 3)] * 3
    assert all(np.array_equal(part, unpack(m, pipeline.spec)) for part, m in zip(observed, messages, strict=True))


def test_no_messages_are_refused(pipeline):
    with pytest.raises(UserError, match="at least one message"):
        observe(pipeline, [])


def test_a_message_of_another_spec_is_refused(pipeline, release):
    messages, _ = release(pipeline, 1, seed=0)
    other = QuantizerSpec(4, 3, 0.05, 1.0)
    with pytest.raises(UserError, match="do not run the same quantizer"):
        observe(pipeline, [*messages, pack(np.zeros((2, 3), dtype=np.uint8), other)])


def test_the_truth_reaches_no_attack(pipeline, release):
    messages, truth = release(pipeline, 2, seed=0)
    spy = Spy(pipeline.spec)
    truths = truth.reshape(2, 50)
    outcome = invert(spy, spy, messages, truths)
    assert spy.shown == [((messages,), {})]
    assert (outcome.attack, outcome.version, outcome.depth) == ("spy", 7, 3)
    assert np.array_equal(outcome.guess, np.full(100, 3))
    assert np.array_equal(outcome.hits, truth == 3)
    assert np.array_equal(invert(spy, spy, messages, np.full((2, 50), 5)).guess, outcome.guess)


@pytest.mark.parametrize("lengths", [(50,), (50, 49), (50, 50, 50)])
def test_a_truth_of_other_lengths_is_refused(pipeline, release, lengths):
    messages, _ = release(pipeline, 2, seed=0)
    spy = Spy(pipeline.spec)
    with pytest.raises(UserError, match="true tokens of"):
        invert(spy, spy, messages, [[0] * length for length in lengths])


def test_ranks_scores_and_places_of_the_truth_are_kept():
    words = np.array([[4, 2, 7], [4, 2, 7], [1, 0, 3]], dtype=np.int32)
    scores = np.array([[3, 2, 1], [6, 5, 4], [9, 8, 7]], dtype=np.float32)
    parts = Guesses(words, scores).split([2, 1])
    outcome = Outcome.of(Spy(None), parts, [[2, 9], [1]], ["a", "b"])
    assert outcome.rank.tolist() == [2, 0, 1]
    assert outcome.truth_score[[0, 2]].tolist() == [2, 9]
    assert np.isnan(outcome.truth_score[1])
    assert outcome.score.tolist() == [3, 6, 9]
    assert outcome.prompt.tolist() == [0, 0, 1]
    assert outcome.position.tolist() == [0, 1, 0]
    assert outcome.clusters.tolist() == ["a", "a", "b"]
    assert outcome.within(1).tolist() == outcome.hits.tolist() == [False, False, True]
    assert outcome.within(3).tolist() == [True, False, True]
    with pytest.raises(UserError, match=r"k in 1\.\.3"):
        outcome.within(4)


def test_an_outcome_is_read_back_as_it_was_written(tmp_path, pipeline, release):
    messages, truth = release(pipeline, 2, seed=0)
    attack = CommonestWord()
    attacker = attack.fit(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior))
    outcome = invert(attack, attacker, messages, truth.reshape(2, 50), ["x", "y"])
    outcome.write(tmp_path / "outcome.parquet")
    again = Outcome.read(tmp_path / "outcome.parquet")
    for name in Outcome.__slots__:
        assert np.array_equal(getattr(again, name), getattr(outcome, name)), name
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.parquet"]


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"{}"])
def test_another_file_is_no_outcome(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UserError, match="to hold an outcome"):
        Outcome.read(tmp_path / "x.parquet")


def test_parts_of_one_run_are_one_outcome(pipeline, release):
    messages, truth = release(pipeline, 4, seed=0)
    truths, attack = truth.reshape(4, 50), CommonestWord()
    attacker = attack.fit(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior))
    whole = invert(attack, attacker, messages, truths, list("abca"))
    parts = [invert(attack, attacker, messages[a:b], truths[a:b], list("abca")[a:b]) for a, b in ((0, 1), (1, 4))]
    joined = Outcome.joined(parts)
    for name in Outcome.__slots__:
        assert np.array_equal(getattr(joined, name), getattr(whole, name)), name
    with pytest.raises(UserError, match="outcomes of one attack"):
        Outcome.joined([whole, invert(Spy(pipeline.spec), Spy(pipeline.spec), messages, truths)])


@pytest.mark.parametrize("words", [3, 64, 200, 64 * 9, 64 * 41 + 17])
@pytest.mark.parametrize("depth", [1, 3, 20])
def test_the_best_words_are_those_of_a_full_sort(words, depth):
    scores = np.random.default_rng(words + depth).standard_normal((30, words)).astype(np.float32)
    scores[:, words // 2 :] += 1.5  # the best lie close together
    found, values = best_words(scores, min(depth, words))
    order = (-scores).argsort(axis=1)[:, : min(depth, words)]
    assert np.array_equal(found, order)
    assert np.array_equal(values, np.take_along_axis(scores, order, 1))
    assert words < STRIDE or words % STRIDE in (0, 8, 17)


def test_blocks_may_be_overwritten():
    block = np.empty((2, 5), np.float32)

    def blocks():
        for start in (0, 2):
            block[:] = np.arange(5) * (1 if start else -1)
            yield slice(start, start + 2), block

    assert rank(blocks(), 4, 2).words.tolist() == [[0, 1], [0, 1], [4, 3], [4, 3]]


def test_no_tokens_and_no_prior_are_refused(pipeline):
    with pytest.raises(UserError, match="tokens to rank words for, got none"):
        rank(iter(()), 0)
    with pytest.raises(UserError, match="prior over 9 words, got shape"):
        AttackerKnowledge(pipeline, pipeline.table, np.full(8, 1 / 8))
    with pytest.raises(UserError, match="prior above 0 for every word"):
        AttackerKnowledge(pipeline, pipeline.table, np.eye(9)[0])
