import numpy as np
import pytest
from scipy.stats import binomtest

from attacks.attribute import ProbeResult, fit_probe
from attacks.attribute.probes import FOLDS
from mechanisms.errors import UserError


def a_study(signal, rows=240, width=6, seed=0, classes=("acne", "pain")):
    """Returns features, iid labels and documents; each class shifts a coordinate of its own by signal deviations."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, rows)
    features = generator.standard_normal((rows, width))
    features[np.arange(rows), np.searchsorted(classes, labels)] += signal
    return features, labels.tolist(), list(range(rows))


class TestProbes:
    @pytest.mark.parametrize("seed", range(3))
    def test_features_that_know_nothing_find_nothing(self, seed):
        features, labels, documents = a_study(signal=0.0, seed=seed)
        test, test_labels, _ = a_study(signal=0.0, seed=100 + seed)
        result = fit_probe({"codes": features}, labels, documents).score({"codes": test}, test_labels)
        assert binomtest(sum(result.recalled), sum(result.held_out), 0.5).pvalue > 1e-3

    @pytest.mark.parametrize("seed", range(3))
    def test_shuffled_labels_find_nothing_in_features_that_know_all(self, seed):
        features, labels, documents = a_study(signal=8.0, seed=seed)
        test, test_labels, _ = a_study(signal=8.0, seed=100 + seed)
        shuffled = np.random.default_rng(seed).permutation(test_labels).tolist()
        result = fit_probe({"codes": features}, labels, documents).score({"codes": test}, shuffled)
        assert binomtest(sum(result.recalled), sum(result.held_out), 0.5).pvalue > 1e-3

    @pytest.mark.parametrize("classes", [("acne", "pain"), ("acne", "flu", "pain")])
    def test_separable_features_are_found(self, classes):
        features, labels, documents = a_study(signal=12.0, classes=classes)
        test, test_labels, _ = a_study(signal=12.0, classes=classes, seed=1)
        probe = fit_probe({"codes": features}, labels, documents)
        result = probe.score({"codes": test}, test_labels)
        assert probe.validation > 0.95
        assert result.balanced_accuracy > 0.95
        assert result.classes == classes
        assert sum(result.held_out) == 240

    def test_cross_validation_chooses_the_features_that_know(self):
        features, labels, documents = a_study(signal=3.0)
        test, test_labels, _ = a_study(signal=3.0, seed=1)
        noise = np.random.default_rng(5).standard_normal((2, 240, 6))
        for order in (("noise", "codes"), ("codes", "noise")):
            train = {kind: {"noise": noise[0], "codes": features}[kind] for kind in order}
            probe = fit_probe(train, labels, documents)
            assert probe.features == "codes"
            result = probe.score({"noise": noise[1], "codes": test}, test_labels)
            assert (result.features, result.validation) == ("codes", probe.validation)

    def test_the_held_out_part_chooses_nothing(self):
        """Whatever is held out, even features without a number where none are looked at, the choice stands."""
        features, labels, documents = a_study(signal=1.0)
        other = np.random.default_rng(5).standard_normal((240, 6))
        probe = fit_probe({"codes": features, "words": other}, labels, documents)
        assert probe.features == "codes"
        test, test_labels, _ = a_study(signal=1.0, seed=1)
        poisoned = np.full((240, 6), np.nan)
        oracle = np.searchsorted(["acne", "pain"], test_labels)[:, None] * np.full((1, 6), 50.0)
        results = [
            probe.score({"codes": codes, "words": words}, test_labels)
            for codes, words in [(test, poisoned), (test, oracle), (-test, other), (test[::-1], other)]
        ]
        assert {(result.features, result.validation) for result in results} == {("codes", probe.validation)}
        assert results[0] == results[1]
        assert results[2].recalled != results[0].recalled

    def test_each_held_out_row_is_scored_alone(self):
        features, labels, documents = a_study(signal=1.0)
        test, test_labels, _ = a_study(signal=1.0, seed=1)
        probe = fit_probe({"codes": features}, labels, documents)
        whole = probe.score({"codes": test}, test_labels)
        parts = [probe.score({"codes": test[part]}, test_labels[part]) for part in (slice(0, 100), slice(100, None))]
        assert whole.recalled == tuple(np.sum([part.recalled for part in parts], axis=0))
        assert whole.held_out == tuple(np.sum([part.held_out for part in parts], axis=0))

    def test_a_documents_releases_stay_in_one_fold(self):
        """A document released five times is five alike rows: told apart, each fold would have seen its answers."""
        features, labels, _ = a_study(signal=0.0, rows=60, width=120)
        copies = {"codes": np.repeat(features, 5, axis=0)}
        many, documents = np.repeat(labels, 5).tolist(), np.repeat(np.arange(60), 5).tolist()
        assert fit_probe(copies, many, documents).validation < 0.75
        assert fit_probe(copies, many, list(range(300))).validation > 0.9

    def test_a_rare_class_counts_as_much_as_a_common_one(self):
        generator = np.random.default_rng(0)
        labels = ["pain"] * 220 + ["acne"] * 20
        features = generator.standard_normal((240, 4))
        features[220:, 0] += 3
        result = fit_probe({"codes": features}, labels, list(range(240))).score({"codes": features}, labels)
        assert result.held_out == (20, 220)
        assert result.balanced_accuracy > 0.8

    def test_same_training_same_probe(self):
        features, labels, documents = a_study(signal=1.0)
        first, second = (fit_probe({"codes": features}, labels, documents) for _ in range(2))
        assert first.validation == second.validation
        assert first.score({"codes": features}, labels) == second.score({"codes": features}, labels)

    def test_one_class_is_refused(self):
        features, _, documents = a_study(signal=1.0)
        with pytest.raises(UserError, match="two classes or more"):
            fit_probe({"codes": features}, ["pain"] * 240, documents)

    def test_a_class_with_fewer_documents_than_folds_is_refused(self):
        features, labels, _ = a_study(signal=1.0, rows=40)
        labels[:8] = ["flu"] * 8
        few = [0, 0, 1, 1, 2, 2, 2, 2, *range(3, 35)]
        with pytest.raises(UserError, match=f"{FOLDS} public documents or groups at least.*got 3 of 'flu'"):
            fit_probe({"codes": features}, labels, few)
        enough = [0, 0, 1, 1, 2, 2, 3, 3, *range(4, 36)]
        assert fit_probe({"codes": features}, labels, enough).classes == ("acne", "flu", "pain")

    @pytest.mark.parametrize("labels", [["pain"] * 240, ["pain"] * 120 + ["acne"] * 119 + ["flu"]])
    def test_other_classes_in_the_held_out_part_are_refused(self, labels):
        features, train_labels, documents = a_study(signal=1.0)
        probe = fit_probe({"codes": features}, train_labels, documents)
        with pytest.raises(UserError, match="held-out documents"):
            probe.score({"codes": features}, labels)

    def test_other_lengths_and_missing_views_are_refused(self):
        features, labels, documents = a_study(signal=1.0)
        with pytest.raises(UserError, match="each of 240 rows of 'codes', got 239"):
            fit_probe({"codes": features}, labels[:-1], documents)
        with pytest.raises(UserError, match="each of 239 rows of 'documents', got 240"):
            fit_probe({"codes": features}, labels, documents[:-1])
        with pytest.raises(UserError, match="at least one view"):
            fit_probe({}, labels, documents)
        probe = fit_probe({"codes": features}, labels, documents)
        with pytest.raises(UserError, match="view 'codes'"):
            probe.score({"words": features}, labels)
        with pytest.raises(UserError, match="each of 240 held-out rows, got 1"):
            probe.score({"codes": features}, labels[:1])

    def test_a_class_that_only_bends_are_told_by_is_found(self):
        """Inside or outside a circle: no line tells, so the choice must reach beyond logistic regression."""
        points = np.random.default_rng(0).uniform(-1, 1, (600, 2))
        labels = np.where((points**2).sum(axis=1) < 0.64, "acne", "pain")
        probe = fit_probe({"codes": points[:300]}, labels[:300].tolist(), list(range(300)))
        assert "gradient boosting" in probe.classifier or "perceptron" in probe.classifier
        assert probe.score({"codes": points[300:]}, labels[300:].tolist()).balanced_accuracy > 0.85

    def test_accuracies_are_those_of_the_counts(self):
        result = ProbeResult("codes", 0.5, ("acne", "pain"), recalled=(3, 10), held_out=(4, 40))
        assert result.balanced_accuracy == pytest.approx((0.75 + 0.25) / 2)
        assert result.accuracy == pytest.approx(13 / 44)
