from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from attacks.attribute import QuantileClasses, split_by_group
from attacks.attribute.splits import bounded_rows
from mechanisms.errors import UserError


class TestSplitByGroup:
    @pytest.mark.parametrize("seed", range(5))
    def test_no_group_is_in_both_parts_and_no_row_is_lost(self, seed):
        groups = np.random.default_rng(seed).integers(0, 30, 200).tolist()
        train, held = split_by_group(groups, 0.3, seed)
        assert not {groups[i] for i in train} & {groups[i] for i in held}
        assert sorted([*train, *held]) == list(range(200))
        assert len({groups[i] for i in held}) == round(0.3 * len(set(groups)))

    def test_every_label_is_in_both_parts(self):
        labels = ["pain"] * 40 + ["flu"] * 2 + ["acne"] * 6
        train, held = split_by_group([f"author {i}" for i in range(48)], 0.25, 0, labels)
        assert {labels[i] for i in train} == {labels[i] for i in held} == {"pain", "flu", "acne"}

    def test_the_seed_repeats_it(self):
        groups = list(range(50))
        assert np.array_equal(split_by_group(groups, 0.5, 3)[1], split_by_group(groups, 0.5, 3)[1])
        assert not np.array_equal(split_by_group(groups, 0.5, 3)[1], split_by_group(groups, 0.5, 4)[1])

    def test_bad_input_is_refused(self):
        with pytest.raises(UserError, match="share=1"):
            split_by_group([1, 2], 1.0, 0)
        with pytest.raises(UserError, match="label for each of 2 rows, got 1"):
            split_by_group([1, 2], 0.5, 0, ["a"])
        for groups in ([], [7, 7, 7]):
            with pytest.raises(UserError, match="two documents or authors"):
                split_by_group(groups, 0.5, 0)


class TestQuantileClasses:
    def test_classes_are_filled_alike_and_fitted_on_training_values_alone(self):
        classes = QuantileClasses.fit([None, *range(20, 80)], 3)
        assert classes.edges == (40.0, 60.0)
        labels = classes.labels(list(range(20, 80)))
        assert [labels.count(name) for name in classes.names] == [20, 20, 20]
        assert classes.labels([None, "39.9", 40, 1000]) == [None, "below 40", "40 to below 60", "60 and above"]

    def test_bad_input_is_refused(self):
        with pytest.raises(UserError, match="'old'"):
            QuantileClasses.fit([1, 2, "old"], 2)
        with pytest.raises(UserError, match="classes=1"):
            QuantileClasses.fit([1, 2], 1)
        for values in ([], [None], [5, 5, 5, 6]):
            with pytest.raises(UserError, match="ask for fewer classes"):
                QuantileClasses.fit(values, 3)


class TestBoundedRows:
    def test_few_rows_are_all_used(self):
        assert bounded_rows(list("aab"), list("xyx"), 3, 0).tolist() == [0, 1, 2]

    def test_classes_keep_their_shares(self):
        labels = ["flu"] * 600 + ["pain"] * 300 + ["acne"] * 100
        chosen = bounded_rows(range(1000), labels, 200, 0)
        assert Counter(labels[row] for row in chosen) == {"flu": 120, "pain": 60, "acne": 20}
        assert np.all(np.diff(chosen) > 0)

    def test_groups_are_whole_and_the_seed_draws_them(self):
        generator = np.random.default_rng(0)
        groups = generator.integers(0, 90, 900)
        labels = np.array(["flu", "pain"])[groups % 2]
        first, again, other = (bounded_rows(groups, labels, 300, seed) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        for chosen in (first, other):
            assert 280 < len(chosen) <= 300
            assert len(chosen) == np.isin(groups, groups[chosen]).sum()

    def test_every_row_is_as_likely_as_another(self):
        taken = np.sum([np.isin(np.arange(40), bounded_rows(range(40), ["x"] * 40, 10, s, 1)) for s in range(800)], 0)
        assert chisquare(taken).pvalue > 1e-4

    def test_a_rare_class_keeps_what_cross_validation_needs(self):
        labels = ["flu"] * 990 + ["acne"] * 6 + ["pain"] * 4
        chosen = bounded_rows(range(1000), labels, 100, 0)
        assert Counter(labels[row] for row in chosen) == {"flu": 92, "acne": 4, "pain": 4}
        large = bounded_rows(np.repeat(range(8), 100), np.repeat(["flu", "acne"], 400), 100, 0)
        assert len(large) == 800  # eight groups are needed, whatever they hold

    def test_a_label_that_is_no_groups_commonest_is_kept(self):
        groups = np.repeat(range(100), 10)
        labels = [("acne" if place == 0 and group < 6 else "flu") for group in range(100) for place in range(10)]
        chosen = bounded_rows(groups, labels, 200, 0)
        assert sum(labels[row] == "acne" for row in chosen) >= 4
        assert len(chosen) <= 200

    def test_bad_input_is_refused(self):
        with pytest.raises(UserError, match="each of 3 rows, got 2"):
            bounded_rows(list("abc"), list("xy"), 1, 0)
        with pytest.raises(UserError, match="most >= 1"):
            bounded_rows(list("abc"), list("xyz"), 0, 0)
        with pytest.raises(UserError, match="least_groups >= 1"):
            bounded_rows(list("abc"), list("xyz"), 1, 0, 0)
