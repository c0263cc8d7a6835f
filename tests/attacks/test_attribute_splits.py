import numpy as np
import pytest

from attacks.attribute import QuantileClasses, split_by_group
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
