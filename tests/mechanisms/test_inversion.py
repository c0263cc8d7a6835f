from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from mechanisms.inversion import UNDECIDED, BinomialTable, Bits, cumulative
from mechanisms.quantizer import level_table, level_thresholds
from mechanisms.randomness import SimulatedWords
from mechanisms.spec import QuantizerSpec

PRODUCTION = Bits()


def masses(threshold, trials, word_bits):
    """Returns 2^(word_bits trials) P[K = k] for every k: whole numbers, from the definition."""
    failure = 2**word_bits - threshold
    return [comb(trials, k) * threshold**k * failure ** (trials - k) for k in range(trials + 1)]


def partition(threshold, trials, word_bits=32):
    """Returns P[K <= k] for k < trials, as fractions."""
    law = masses(threshold, trials, word_bits)
    return [Fraction(sum(law[: k + 1]), 2 ** (word_bits * trials)) for k in range(trials)]


class Number:
    """A source that hands out the bits of one number in [0, 1), `size` of them, and ones where nobody should look."""

    def __init__(self, value, size, bits):
        self.value, self.left, self.steps = value, size, iter((bits.cell, bits.more, None))

    def take(self, wanted, room):
        taken = min(wanted, self.left)
        self.left -= taken
        top = (self.value >> self.left) & ((1 << taken) - 1)
        return top << (room - taken) | ((1 << (room - taken)) - 1)

    def words(self, count):
        step = next(self.steps)
        if count == 1 and step is not None and step <= 16:
            return np.array([0xFFFF0000 | self.take(step, 16)], dtype=np.uint32)
        number = self.take(self.left if step is None else step, 32 * count)
        return np.frombuffer(number.to_bytes(4 * count, "little"), dtype="<u4")


def draw(table, row, value, size):
    """Returns the count that the table makes of the number value / 2^size in the given row."""
    return int(table.sample(np.array([row], dtype=np.uint8), Number(value, size, table.bits))[0])


def enumerated(table, row, size):
    """Returns how many of all numbers of `size` bits give each count."""
    return Counter(draw(table, row, value, size) for value in range(2**size))


def has_the_exact_law(table, rows=None):
    size = max(table.word_bits * table.trials, table.bits.leading)
    factor = 2 ** (size - table.word_bits * table.trials)
    for row in range(len(table.thresholds)) if rows is None else rows:
        exact = masses(table.thresholds[row], table.trials, table.word_bits)
        if enumerated(table, row, size) != Counter({k: factor * mass for k, mass in enumerate(exact)}):
            return False
    return True


SMALL = [
    (1, 5, Bits(3, 3)),  # all bits are leading bits
    (2, 4, Bits(3, 7)),  # more than there are
    (2, 4, Bits(2, 2)),
    (2, 4, Bits(1, 1)),  # nearly every number ends in a tie
    (3, 3, Bits(3, 3)),
    (3, 3, Bits(5, 1)),
    (5, 2, Bits(2, 3)),  # tails share their leading bits
]


@pytest.mark.parametrize(("trials", "word_bits", "bits"), SMALL)
def test_theorem_3_the_table_has_the_exact_law_of_every_threshold_by_enumeration(trials, word_bits, bits):
    table = BinomialTable.of(range(1, 2**word_bits), trials, word_bits, bits)
    assert has_the_exact_law(table)


class TieAbove(BinomialTable):
    """The planted fault of a sampler that takes equal leading bits for a number that is not below."""

    def _settle(self, key, source):
        row, leading = divmod(key, 1 << self.bits.leading)
        points = self.points[row * self.trials : (row + 1) * self.trials]
        return int((points - np.uint64(row << self.bits.leading) <= leading).sum())


class TieBelow(TieAbove):
    """The same, the other way."""

    def _settle(self, key, source):
        row, leading = divmod(key, 1 << self.bits.leading)
        points = self.points[row * self.trials : (row + 1) * self.trials]
        return int((points - np.uint64(row << self.bits.leading) < leading).sum())


def planted(table, kind):
    return kind(table.thresholds, table.trials, table.word_bits, table.bits, table.cells, table.points)


@pytest.mark.parametrize("kind", [TieAbove, TieBelow])
def test_enumeration_rejects_ties_that_are_not_settled(kind):
    table = BinomialTable.of([3, 5], 3, 3, Bits(3, 3))
    assert has_the_exact_law(table)
    assert not has_the_exact_law(planted(table, kind))


def test_enumeration_rejects_every_cell_and_every_point_that_is_off_by_one():
    table = BinomialTable.of([5], 2, 4, Bits(3, 3))
    for cell in range(table.cells.size):
        wrong = table.cells.copy()
        wrong[cell] = 1 if wrong[cell] != 1 else 2
        assert not has_the_exact_law(replace(table, cells=wrong)), cell
    for point in range(table.points.size):
        for off in (-1, 1):
            wrong = table.points.copy()
            wrong[point] = int(wrong[point]) + off
            assert not has_the_exact_law(replace(table, points=wrong)), (point, off)


@pytest.mark.parametrize(("threshold", "trials", "word_bits"), [(1, 1, 1), (3, 7, 2), (2**31 + 7, 15, 32), (9, 255, 4)])
def test_cumulative_is_the_sum_of_the_binomial_masses(threshold, trials, word_bits):
    law = masses(threshold, trials, word_bits)
    assert cumulative(threshold, trials, word_bits) == [sum(law[: k + 1]) for k in range(trials)]
    assert sum(law) == 2 ** (word_bits * trials)


@pytest.mark.parametrize(("bits", "stride"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 4), (6, 16), (8, 50)])
def test_theorem_3_the_tables_partition_is_the_exact_one_of_each_level(bits, stride):
    """Cell by cell and point by point, in whole numbers, with the layout that clients use."""
    spec = QuantizerSpec.from_mu(bits, 18, 0.05, 20.0)
    table = level_table(spec)
    assert table.bits == PRODUCTION
    assert table.cells.nbytes == 255 * 4096
    cells = table.cells.reshape(255, -1)
    points = table.points.reshape(255, -1).astype(object) - (np.arange(255, dtype=object) << 56)[:, None]
    for level in range(0, 255, stride):
        exact = partition(int(level_thresholds(spec)[level]), spec.trials)
        assert points[level].tolist() == [int(point * 2**56) for point in exact]
        inside = np.array([int(point * 4096) for point in exact])
        expected = np.searchsorted(inside, np.arange(4096))
        expected[inside] = UNDECIDED
        assert np.array_equal(cells[level], expected)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_theorem_3_a_number_next_to_a_partition_point_is_told_apart_by_its_last_bit(bits):
    """A source that forces the tie: all 32 u bits are those of the point, and then of the number just below it."""
    spec = QuantizerSpec.from_mu(bits, 18, 0.05, 20.0)
    table, size = level_table(spec), 32 * spec.trials
    for level in (0, 100, 254):
        points = [int(point * 2**size) for point in partition(int(level_thresholds(spec)[level]), spec.trials)]
        for k in range(0, spec.trials, 1 if bits < 8 else 16):
            assert draw(table, level, points[k], size) == k + 1
            assert draw(table, level, points[k] - 1, size) == k
    for kind in (TieAbove, TieBelow):
        wrong = planted(table, kind)
        middle = spec.trials // 2
        assert {draw(wrong, 254, points[middle], size), draw(wrong, 254, points[middle] - 1, size)} != {
            middle,
            middle + 1,
        }


class Recorded(SimulatedWords):
    """Keeps every call's words."""

    def __init__(self, seed):
        super().__init__(seed, "recorded")
        self.calls = []

    def words(self, count):
        self.calls.append(super().words(count))
        return self.calls[-1]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("tokens", [1, 7, 400])
def test_every_count_of_a_release_is_the_inverse_of_the_bits_drawn_for_it(bits, tokens):
    """Against the definition: how many partition points the number is not below; each bit is used once."""
    spec = QuantizerSpec.from_mu(bits, 5, 0.05, 5.0)
    generator, source = np.random.default_rng(bits), Recorded(bits)
    levels = generator.choice(np.array([0, 60, 127, 200, 254], dtype=np.uint8), (tokens, 5))
    counts = level_table(spec).sample(levels, source)
    assert counts.dtype == np.uint8
    assert counts.shape == levels.shape
    points = {level: partition(int(level_thresholds(spec)[level]), spec.trials) for level in np.unique(levels)}
    halves = source.calls[0].astype("<u4").view("<u2").tolist()
    assert len(halves) == levels.size + levels.size % 2
    more = iter(source.calls[1].astype("<u4").view("<u8").tolist() if len(source.calls) > 1 else [])
    for level, count, half in zip(levels.reshape(-1), counts.reshape(-1), halves, strict=False):
        cell = half >> 4
        inside = [point for point in points[level] if Fraction(cell, 4096) <= point < Fraction(cell + 1, 4096)]
        decided = below(points[level], Fraction(cell, 4096))
        if not inside and decided != UNDECIDED:
            assert count == decided
        else:
            number = Fraction(cell << 44 | next(more) >> 20, 2**56)
            assert count == below(points[level], number) == below(points[level], number + Fraction(1, 2**56))
    assert next(more, None) is None
    assert len(source.calls) <= 2


def below(points, number):
    return sum(point <= number for point in points)


def test_equal_thresholds_have_equal_rows():
    table = BinomialTable.of([7, 7, 9, 9, 7], 3, 4, Bits(3, 3))
    rows = table.points.reshape(5, 3) - (np.arange(5, dtype=np.uint64) << np.uint64(6))[:, None]
    assert np.array_equal(rows[[0, 0, 2]], rows[[1, 4, 3]])
    assert (rows[0] != rows[2]).any()


def test_nothing_is_drawn_for_nothing():
    empty = level_table(QuantizerSpec(4, 5, 0.05, 0.1)).sample(np.empty((0, 5), dtype=np.uint8), SimulatedWords(0))
    assert empty.shape == (0, 5)
