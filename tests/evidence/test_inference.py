import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from attacks.attribute import fit_probe
from del_audit.evidence import side_channel
from del_audit.evidence.inference import Sample, infer, probe_figures
from del_audit.evidence.side_channel import binned, miller_madow, mutual_information, plug_in_bits
from mechanisms.errors import UserError

CLASSES = ("acne", "flu", "pain")


def a_sample(signal, rows, seed, part, copies=1):
    """Returns a sample whose views tell the label by `signal` standard deviations; documents are named by the part."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, rows, p=[0.5, 0.3, 0.2])
    place = np.repeat(np.searchsorted(CLASSES, labels), copies)
    features = generator.standard_normal((rows * copies, 3))
    features[np.arange(len(place)), place] += signal
    clean = np.eye(3)[place] + 0.01 * generator.standard_normal((len(place), 3))
    lengths = generator.integers(5, 50, (len(place), 1)).astype(float)
    documents = [f"{part} {row}" for row in np.repeat(np.arange(rows), copies)]
    names = tuple(np.array(CLASSES)[place].tolist())
    return Sample({"codes": features}, {"codes": clean}, names, tuple(documents), {"lengths": lengths}, copies)


@pytest.fixture(scope="module")
def inferred():
    public, private = a_sample(1.5, 160, 0, "public"), a_sample(1.5, 150, 1, "private")
    return infer("condition", public, private, seed=0), public, private


class TestInfer:
    def test_figures_are_those_of_scikit_learn(self, inferred):
        _, public, private = inferred
        probe = fit_probe(public.released, public.labels, public.documents, 0)
        probabilities = probe.probabilities(private.released)
        figures = probe_figures(probe, private.released, private, seed=0)
        guesses = np.array(CLASSES)[probabilities.argmax(axis=1)]
        truth = np.array(private.labels)
        assert figures.balanced.value == pytest.approx(balanced_accuracy_score(truth, guesses), abs=1e-12)
        assert figures.accuracy.value == pytest.approx(accuracy_score(truth, guesses), abs=1e-12)
        area = np.mean([roc_auc_score(truth == name, probabilities[:, k]) for k, name in enumerate(CLASSES)])
        assert figures.auc.value == pytest.approx(area, abs=1e-12)
        shares = [np.mean(np.array(public.labels) == name) for name in CLASSES]
        weighted = accuracy_score(truth, np.array(CLASSES)[(probabilities * shares).argmax(axis=1)])
        assert figures.weighted_accuracy.value == pytest.approx(weighted, abs=1e-12)
        assert figures.over_majority.value == pytest.approx(weighted - np.mean(truth == "acne"), abs=1e-12)

    def test_the_release_stands_between_floor_and_ceiling(self, inferred):
        found, _, _ = inferred
        assert found.clean.value > 0.99
        assert found.length_figures.balanced.lower <= 1 / 3 <= found.length_figures.balanced.upper
        assert found.other.lower <= 1 / 3 <= found.other.upper
        assert found.other.upper < found.balanced.lower < found.balanced.upper < found.clean.lower
        assert found.advantage.value == pytest.approx((found.balanced.value - 1 / 3) / (2 / 3))
        assert found.figures.balanced == found.balanced

    def test_shuffled_labels_find_nothing(self):
        """Whatever a probe learned, labels shuffled among the held-out rows leave it at chance on average."""
        public, private = a_sample(8.0, 120, 0, "public"), a_sample(8.0, 150, 50, "private")
        probe = fit_probe(public.released, public.labels, public.documents)
        probabilities, generator = probe.probabilities(private.released), np.random.default_rng(0)
        scores = [probe.judge(probabilities, generator.permutation(private.labels).tolist()) for _ in range(200)]
        balanced = np.array([result.balanced_accuracy for result in scores])
        assert ttest_1samp(balanced, 1 / 3).pvalue > 1e-3
        assert probe.judge(probabilities, private.labels).balanced_accuracy > balanced.max()

    def test_rows_of_one_author_count_as_one(self):
        public, once = a_sample(1.5, 120, 0, "public"), a_sample(1.5, 60, 1, "private")
        fivefold = Sample(
            *({k: np.repeat(v, 5, axis=0) for k, v in part.items()} for part in (once.released, once.clean)),
            tuple(np.repeat(once.labels, 5).tolist()),
            tuple(np.repeat(once.documents, 5).tolist()),
            longest=5,
        )
        probe = fit_probe(public.released, public.labels, public.documents)
        alone, copied = (probe_figures(probe, s.released, s, 0) for s in (once, fivefold))
        for name in ("balanced", "accuracy", "auc", "over_majority"):
            one, five = getattr(alone, name), getattr(copied, name)
            assert five.value == pytest.approx(one.value, abs=1e-12), name
            assert five.documents == 60
            assert 0.7 < (five.upper - five.lower) / (one.upper - one.lower) < 1.3, name

    def test_all_right_for_authors_with_several_rows_keeps_an_interval(self):
        public, private = a_sample(40.0, 60, 0, "public", 2), a_sample(40.0, 40, 1, "private", 2)
        probe = fit_probe(public.released, public.labels, public.documents)
        figures = probe_figures(probe, private.released, private, 0)
        assert figures.balanced.value == figures.accuracy.value == 1
        assert 0.5 < figures.balanced.lower < 1
        assert 0.8 < figures.accuracy.lower < 1

    def test_an_author_in_both_parts_is_refused(self):
        public = a_sample(1.0, 60, 0, "author")
        with pytest.raises(UserError, match="both parts, got 'author 0'"):
            infer("condition", public, a_sample(1.0, 60, 1, "author"), 0)

    def test_bad_samples_are_refused(self):
        with pytest.raises(UserError, match="label for each of 2 rows, got 1"):
            Sample({}, {}, ("a",), (0, 1))
        sample, private = a_sample(1.0, 60, 0, "public"), a_sample(1.0, 60, 1, "private")
        with pytest.raises(UserError, match="two classes or more"):
            infer("condition", sample.only(["pain"]), private, 0)
        two = sample.only(["acne", "flu"])
        probe = fit_probe(two.released, two.labels, two.documents)
        with pytest.raises(UserError, match="got 'pain'"):
            probe_figures(probe, private.released, private, 0)


LAWS = {
    "independent": np.full((3, 2), 1 / 6),
    "weak": np.array([[0.2, 0.1], [0.15, 0.15], [0.2, 0.2]]),
    "strong": np.array([[0.3, 0.03], [0.04, 0.3], [0.13, 0.2]]),
}


def exact_bits(law):
    """Returns H(X) + H(Y) - H(X, Y)."""
    entropy = lambda p: -sum(x * math.log2(x) for x in p if x)  # noqa: E731
    return entropy(law.sum(axis=1)) + entropy(law.sum(axis=0)) - entropy(law.ravel())


class TestMutualInformation:
    @pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
    def test_plug_in_of_a_known_law_is_exact(self, law):
        assert plug_in_bits(law) == pytest.approx(exact_bits(law), abs=1e-12)

    @pytest.mark.parametrize("name", LAWS)
    def test_the_correction_takes_the_bias_away(self, name):
        law, generator = LAWS[name], np.random.default_rng(0)
        tables = generator.multinomial(100, law.ravel(), 4000).reshape(-1, *law.shape)
        plug_in = np.array([plug_in_bits(table) for table in tables])
        corrected = plug_in - np.array([miller_madow(table) for table in tables])
        error = corrected.std() / math.sqrt(len(tables))
        assert abs(corrected.mean() - exact_bits(law)) < 4 * error + 5e-4
        assert plug_in.mean() - exact_bits(law) > 0.01

    @pytest.mark.parametrize("name", LAWS)
    def test_the_interval_covers_the_truth(self, name, monkeypatch):
        monkeypatch.setattr(side_channel, "PERMUTATIONS", 59)
        law, generator, covered = LAWS[name], np.random.default_rng(1), 0
        for seed in range(300):
            drawn = generator.choice(law.size, 100, p=law.ravel())
            found = mutual_information(drawn // 2, (drawn % 2).tolist(), seed).bits
            covered += found.lower - 1e-12 <= exact_bits(law) <= found.upper
        assert binomtest(covered, 300, 0.95, "less").pvalue > 1e-3

    def test_noise_is_not_reported_as_real_and_a_planted_size_is(self):
        generator = np.random.default_rng(0)
        labels = generator.choice(["a", "b", "c", "d", "e"], 100)
        noise = mutual_information(generator.integers(10, 300, 100), labels.tolist(), 0)
        assert noise.plug_in > 0.1
        assert noise.bits.value < 0.1
        assert not noise.found
        assert noise.bits.lower == 0
        sizes = 50 * np.searchsorted(["a", "b", "c", "d", "e"], labels) + generator.integers(0, 10, 100)
        planted = mutual_information(sizes, labels.tolist(), 0)
        assert planted.found
        assert planted.p_value == 1 / 1000
        assert planted.bits.lower > 1

    def test_shuffles_find_nothing_at_their_own_rate(self, monkeypatch):
        monkeypatch.setattr(side_channel, "PERMUTATIONS", 99)
        generator = np.random.default_rng(5)
        found = [
            mutual_information(generator.integers(0, 30, 60), generator.choice(["a", "b"], 60).tolist(), seed).found
            for seed in range(200)
        ]
        assert binomtest(sum(found), 200, 0.05, "greater").pvalue > 1e-3

    def test_alike_rows_of_one_author_are_not_counted_as_many(self):
        generator = np.random.default_rng(0)
        sizes, labels = generator.integers(10, 300, 30), generator.choice(["a", "b"], 30)
        many = np.repeat(sizes, 10), np.repeat(labels, 10).tolist()
        assert mutual_information(*many, 0).found
        authors = mutual_information(*many, 0, np.repeat(np.arange(30), 10))
        assert not authors.found
        assert authors.bits.lower == 0
        assert authors.bits.documents == 30

    def test_bins_look_at_values_alone(self):
        assert binned([7, 7, 9]).tolist() == [0, 0, 1]
        assert np.bincount(binned(np.arange(800))).tolist() == [100] * 8

    def test_bad_input_is_refused(self):
        with pytest.raises(UserError, match="each of 3 labels"):
            mutual_information([1, 2], ["a", "b", "a"], 0)
        with pytest.raises(UserError, match="two classes"):
            mutual_information([1, 2], ["a", "a"], 0)
        with pytest.raises(UserError, match="one of 'b'"):
            mutual_information([1, 2, 3], ["a", "a", "b"], 0)
        with pytest.raises(UserError, match="one label a document"):
            mutual_information([1, 2, 3, 4], ["a", "a", "b", "b"], 0, [0, 1, 1, 2])
