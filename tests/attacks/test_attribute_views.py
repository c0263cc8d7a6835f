import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import binomtest
from sklearn.pipeline import make_pipeline

from attacks.attribute import VIEWS, Viewer, fit_probe, views
from attacks.attribute.candidates import SoftTfidf
from attacks.attribute.channel_bayes import ChannelBayes, ClassExcess
from attacks.attribute.posteriors import LEAST, TokenPosteriors
from attacks.attribute.views import BAG, CODES, EMBEDDING, SENTENCE, SEQUENCE, SPREAD, TEXT, TOKENS, WORDS
from attacks.base import AttackerKnowledge
from attacks.inversion import MaximumLikelihood
from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness
from mechanisms.rivals import Points, RandomizedResponse, RandomizedResponseSpec, RanText, RanTextSpec
from mechanisms.spec import QuantizerSpec
from mechanisms.wire import pack


class Words:
    """A tokenizer that writes each token as its own word."""

    def decode(self, tokens, skip_special_tokens, clean_up_tokenization_spaces):
        return " ".join(f"w{token}" for token in tokens)


@pytest.fixture(scope="module")
def pipeline(random_public):
    return random_public(bits=4, dim=3, mu=8.0, words=15, seed=0)


@pytest.fixture(scope="module")
def viewer(pipeline):
    return Viewer(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior), tokenizer=Words())


def exact_posterior(pipeline, message):
    """Returns P(word | release) of each token from the channel's scores alone, float64."""
    ((_, scores),) = pipeline.channel.scores(pipeline.observed(message), np.log(pipeline.prior))
    weights = np.exp(scores.astype(float) - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def through_channel():
    """Returns an unfitted naive Bayes through the channel, with 5 tokens of the prior."""
    return make_pipeline(ClassExcess(), ChannelBayes(smoothing=5.0))


class TestReleased:
    def test_each_view_is_what_it_says(self, pipeline, viewer, release):
        messages, _ = release(pipeline, 3, seed=0)
        rows = viewer.released(messages).rows
        for index, message in enumerate(messages):
            posterior = exact_posterior(pipeline, message)
            codes = StochasticQuantizer(pipeline.spec).dequantize(pipeline.observed(message))
            guessed = posterior.argmax(axis=1)
            assert np.allclose(rows[CODES][index], codes.mean(axis=0), rtol=1e-5)
            assert np.allclose(rows[SPREAD][index], [*codes.mean(axis=0), *codes.std(axis=0)], rtol=1e-5)
            assert np.allclose(rows[EMBEDDING][index], posterior.mean(axis=0) @ pipeline.table, rtol=1e-4, atol=1e-6)
            assert np.allclose(rows[BAG][[index]].toarray()[0], posterior.sum(axis=0), rtol=1e-4, atol=1e-6)
            assert np.allclose(rows[WORDS][index], pipeline.table[guessed].mean(axis=0), rtol=1e-5)
            assert rows[TEXT][index] == " ".join(f"w{word}" for word in guessed)
            assert np.allclose(rows[TOKENS][index].words.toarray(), posterior, rtol=1e-4, atol=1.1 * LEAST)
            assert rows[TOKENS][index].text is None
            assert np.allclose(rows[SEQUENCE][index][:, :3], codes, rtol=1e-5)
            assert rows[SEQUENCE][index].shape == (50, 3 + 3)  # the table has rank 3

    @pytest.mark.parametrize("kind", ["quantizer", "words"])
    def test_releases_that_are_often_alike_are_looked_at_once_and_alike(self, kind, random_public, monkeypatch):
        pipeline = random_public(bits=1, dim=2, mu=8.0, words=15, seed=0)
        mechanism = pipeline
        if kind == "words":
            spec = RandomizedResponseSpec.from_epsilon(15, 1.5)
            mechanism = RandomizedResponse(spec, pipeline.table, pipeline.prior)
        viewer = Viewer(AttackerKnowledge(mechanism, pipeline.table, pipeline.prior), tokenizer=Words())
        source, words = SimulatedRandomness(1), np.random.default_rng(1).integers(0, 15, (4, 30))
        messages = [mechanism.release(row.tolist(), source) for row in words]
        looked = []
        scores = type(viewer.public.channel).scores
        monkeypatch.setattr(
            type(viewer.public.channel), "scores", lambda *given: looked.append(len(given[1])) or scores(*given)
        )
        once, shared = viewer.released(messages).rows, max(looked)
        monkeypatch.setattr(views, "ALIKE", 1 << 30)
        apart = viewer.released(messages).rows
        assert shared <= 15 < 30 == max(looked)  # distinct releases, beside the tokens of each message
        for view in (CODES, SPREAD, EMBEDDING, WORDS):
            assert np.allclose(once[view], apart[view], rtol=1e-5, atol=1e-6), view
        assert np.allclose(once[BAG].toarray(), apart[BAG].toarray(), rtol=1e-5, atol=1e-6)
        assert once[TEXT].tolist() == apart[TEXT].tolist()
        for a, b in zip(once[SEQUENCE], apart[SEQUENCE], strict=True):
            assert np.allclose(a, b, rtol=1e-5, atol=1e-6)
        for a, b in zip(once[TOKENS], apart[TOKENS], strict=True):
            assert np.allclose(a.words.toarray(), b.words.toarray(), rtol=1e-5, atol=1e-7)

    def test_a_row_depends_on_its_message_alone(self, pipeline, viewer, release):
        messages, _ = release(pipeline, 3, seed=0)
        forwards, backwards = viewer.released(messages).rows, viewer.released(messages[::-1]).rows
        for view in (CODES, SPREAD, EMBEDDING, WORDS, TEXT):
            assert np.array_equal(forwards[view], backwards[view][::-1]), view
        assert (forwards[BAG] - backwards[BAG][[2, 1, 0]]).nnz == 0
        assert np.array_equal(forwards[SEQUENCE][0], backwards[SEQUENCE][2])

    def test_another_reader_writes_another_text_and_nothing_else(self, pipeline, viewer, release):
        messages, _ = release(pipeline, 3, seed=0)
        reader = MaximumLikelihood().fit(viewer.public)
        rows, other = viewer.released(messages).rows, Viewer(viewer.public, reader, Words()).released(messages).rows
        expected = [" ".join(f"w{w}" for w in guesses.best) for guesses in reader.guess(messages)]
        assert other[TEXT].tolist() == expected
        assert other[TEXT].tolist() != rows[TEXT].tolist()
        assert np.array_equal(other[EMBEDDING], rows[EMBEDDING])

    def test_what_cannot_be_seen_is_named(self, pipeline, release):
        messages, _ = release(pipeline, 2, seed=0)
        views = Viewer(AttackerKnowledge(pipeline, pipeline.table, pipeline.prior)).released(messages)
        assert set(views.left_out) == {TEXT, SENTENCE}
        assert set(views.rows) | set(views.left_out) == set(VIEWS)

    def test_a_rival_without_a_known_law_keeps_the_other_views(self):
        table = np.random.default_rng(0).standard_normal((15, 4)).astype(np.float32)
        points = Points.of(table)
        rival = RanText(RanTextSpec.over(points, 4.0), points, table)
        viewer = Viewer(AttackerKnowledge(rival, table, np.full(15, 1 / 15)), tokenizer=Words())
        messages = [rival.release([1, 2, 3, 4], SimulatedRandomness(seed, "views")) for seed in range(3)]
        views = viewer.released(messages)
        assert views.left_out[EMBEDDING] == views.left_out[BAG] == "the law of RANTEXT is not known"
        seen = rival.observed(messages[1])
        assert views.rows[TEXT][1] == " ".join(f"w{word}" for word in seen)
        assert np.array_equal(views.rows[TOKENS][1].words.toarray(), np.eye(15)[seen])
        assert np.allclose(views.rows[CODES][1], table[seen].mean(axis=0), rtol=1e-5)
        assert set(viewer.clean([[1, 2]]).rows) == set(views.rows)

    def test_bad_input_is_refused(self, viewer, pipeline, release):
        messages, _ = release(pipeline, 2, seed=0)
        with pytest.raises(UserError, match="at least one message"):
            viewer.released([])
        with pytest.raises(UserError, match="2 messages and 1 texts"):
            viewer.released(messages, [[1]])
        with pytest.raises(UserError, match="do not run the same quantizer"):
            viewer.released([pack(np.zeros((2, 3), dtype=np.uint8), QuantizerSpec(4, 3, 0.05, 1.0))])


class TestClean:
    def test_the_ceiling_has_the_same_views_of_the_truth(self, pipeline, viewer, release):
        messages, _ = release(pipeline, 2, seed=0)
        views = viewer.clean([[1, 2, 2], [14]])
        assert set(views.rows) == set(viewer.released(messages).rows)
        rows = views.rows
        assert rows[TEXT].tolist() == ["w1 w2 w2", "w14"]
        assert rows[BAG].toarray()[0].tolist() == np.bincount([1, 2, 2], minlength=15).tolist()
        assert np.allclose(rows[EMBEDDING][0], (pipeline.table[1] + 2 * pipeline.table[2]) / 3, rtol=1e-5, atol=1e-8)
        assert np.allclose(rows[CODES][1], pipeline.encoder.codes[14])
        assert np.array_equal(rows[TOKENS][0].words.toarray(), np.eye(15)[[1, 2, 2]])

    def test_no_documents_and_empty_ones_are_refused(self, viewer):
        for documents in ([], [[1], []]):
            with pytest.raises(UserError, match="at least one document"):
                viewer.clean(documents)


class TestChannelBayes:
    def test_likelihoods_are_those_of_the_channel(self, pipeline, viewer, release):
        """P(release | class) summed over every word of every token, straight from the channel."""
        messages, words = release(pipeline, 4, seed=0)
        texts = words.reshape(4, 50).tolist()
        posteriors = [csr_array(exact_posterior(pipeline, message)) for message in messages]
        rows = [
            TokenPosteriors(*pair) for pair in zip(posteriors, [pipeline.prior] * 4, map(np.array, texts), strict=True)
        ]
        model = through_channel().fit(rows, ["a", "a", "b", "b"])
        counts = [np.bincount(np.concatenate(texts[part]), minlength=15) for part in (slice(0, 2), slice(2, 4))]
        laws = [(count + 5.0 * pipeline.prior) / (count.sum() + 5.0) for count in counts]
        found = model[-1].log_likelihoods(model[0].transform(rows))
        for row, message in zip(found, messages, strict=True):
            ((_, scores),) = pipeline.channel.scores(pipeline.observed(message))
            exact = [np.log(np.exp(scores.astype(float)) @ law).sum() for law in laws]
            assert row[0] - row[1] == pytest.approx(exact[0] - exact[1], abs=1e-5)
        assert model.predict_proba(rows).argmax(axis=1).tolist() == found.argmax(axis=1).tolist()

    def test_held_out_text_is_never_read(self, pipeline, viewer, release):
        messages, words = release(pipeline, 4, seed=0)
        texts = words.reshape(4, 50).tolist()
        model = through_channel().fit(viewer.released(messages, texts).rows[TOKENS], ["a", "a", "b", "b"])
        with_text, without = (viewer.released(messages, t).rows[TOKENS] for t in (texts[::-1], None))
        assert np.array_equal(model.predict_proba(with_text), model.predict_proba(without))

    def test_without_text_it_learns_from_expected_counts(self, pipeline, viewer, release):
        messages, _ = release(pipeline, 4, seed=0)
        rows = viewer.released(messages).rows[TOKENS]
        model = through_channel().fit(rows, ["a", "a", "b", "b"])
        expected = sum(exact_posterior(pipeline, message).sum(axis=0) for message in messages[:2])
        law = (expected + 5.0 * pipeline.prior) / (expected.sum() + 5.0)
        mixed = 1 + model[-1].shares_[0] * model[0].excess_[:, 0]
        assert np.abs(mixed * pipeline.prior - law).max() < LEAST  # what is cut from a posterior


class TestAllViewsTogether:
    def test_a_planted_attribute_is_found_and_shuffled_labels_find_nothing(self, viewer, pipeline):
        """One class writes words 0 to 6 more often, the other the rest."""
        generator = np.random.default_rng(0)
        labels = generator.choice(["acne", "pain"], 80).tolist()
        laws = {"acne": np.where(np.arange(15) < 7, 5.0, 1.0), "pain": np.where(np.arange(15) < 7, 1.0, 5.0)}
        texts = [generator.choice(15, 30, p=laws[name] / laws[name].sum()).tolist() for name in labels]
        messages = [pipeline.release(text, SimulatedRandomness(i, "study")) for i, text in enumerate(texts)]
        probe = fit_probe(viewer.released(messages[:40], texts[:40]).rows, labels[:40], range(40))
        test = viewer.released(messages[40:]).rows
        for truth, found in ((labels[40:], True), (generator.permutation(labels[40:]).tolist(), False)):
            right = sum(probe.score(test, truth).recalled)
            assert (binomtest(right, 40, 0.5, "greater").pvalue < 1e-3) == found


def test_soft_tfidf_of_whole_counts_is_that_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = csr_array(np.random.default_rng(0).poisson(0.7, (12, 9)).astype(float))
    found = SoftTfidf().fit(counts).transform(counts).toarray()
    oracle = TfidfTransformer(norm=None, use_idf=True, smooth_idf=True).fit(counts)
    weighted = np.log1p(counts.toarray()) * oracle.idf_
    norms = np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-300)
    assert np.allclose(found, weighted / norms, rtol=1e-12, atol=1e-12)
