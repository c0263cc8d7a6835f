from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from mechanisms.quantizer import level_table, level_thresholds
from mechanisms.randomness import SimulatedRandomness
from mechanisms.sampler import UNDECIDED, BinomialTable, Bits, cumulative
from mechanisms.spec import QuantizerSpec

PRODUCTION = Bits()
CELLS = 2**PRODUCTION.cell


def masses(threshold, trials, word_bits):
    """Returns 2^(word_bits trials) P[K = k] for every k: whole numbers, from the definition."""
    failure = 2**word_bits - threshold
    return [comb(trials, k) * threshold**k * failure ** (trials - k) for k in range(trials + 1)]


def partition(threshold, trials, word_bits=32):
    """Returns P[K <= k] for k < trials, as fractions."""
    law = masses(threshold, trials, word_bits)
    return [Fraction(sum(law[: k + 1]), 2 ** (word_bits * trials)) for k in range(trials)]


class Number:
    """A source that hands out the bits of one number in [0, 1), `size` of them, and ones where nobody should look.

    First call: long words, of which the first is for this count where it is undecided, and then its half word.
    """

    def __init__(self, value, size, bits):
        self.value, self.size, self.bits, self.called = value, size, bits, 0

    def take(self, start, stop, room):
        """Returns the number's bits start..stop on top of a word of room bits; past its end it goes on in 1s."""
        endless = self.value << self.bits.leading | ((1 << self.bits.leading) - 1)
        taken = (endless >> (self.size + self.bits.leading - stop)) & ((1 << (stop - start)) - 1)
        return taken << (room - stop + start) | ((1 << (room - stop + start)) - 1)

    def words(self, count):
        self.called += 1
        if self.called == 1:
            half = 0xFFFF0000 | self.take(0, self.bits.cell, 16)
            more = self.take(self.bits.cell, self.bits.leading, 64)
            return np.array([more & 0xFFFFFFFF, more >> 32, *[2**32 - 1] * (count - 3), half], dtype=np.uint32)
        rest = self.take(self.bits.leading, self.size, 32 * count)
        return np.frombuffer(rest.to_bytes(4 * count, "little"), dtype="<u4")


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
    assert table.cells.nbytes == 255 * CELLS < 600_000
    cells = table.cells.reshape(255, -1)
    points = table.points.reshape(255, -1).astype(object) - (np.arange(255, dtype=object) << 56)[:, None]
    for level in range(0, 255, stride):
        exact = partition(int(level_thresholds(spec)[level]), spec.trials)
        assert points[level].tolist() == [int(point * 2**56) for point in exact]
        inside = np.array([int(point * CELLS) for point in exact])
        expected = np.searchsorted(inside, np.arange(CELLS))
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


class Recorded(SimulatedRandomness):
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
    halves, more = split(source.calls, levels.size)
    for level, count, half in zip(levels.reshape(-1), counts.reshape(-1), halves, strict=True):
        cell = half >> (16 - PRODUCTION.cell)
        inside = [point for point in points[level] if Fraction(cell, CELLS) <= point < Fraction(cell + 1, CELLS)]
        decided = below(points[level], Fraction(cell, CELLS))
        if not inside and decided != UNDECIDED:
            assert count == decided
        else:
            number = Fraction(cell << PRODUCTION.more | next(more) >> (64 - PRODUCTION.more), 2**56)
            assert count == below(points[level], number) == below(points[level], number + Fraction(1, 2**56))
    assert len(source.calls) == 1 or next(more, None) is None


def split(calls, size):
    """Returns the half words of the counts, and the long words of the undecided: in front, or a call of their own."""
    first = calls[0].astype("<u4")
    spare = first.size - (size + 1) // 2
    more = first[:spare] if len(calls) == 1 else calls[1].astype("<u4")
    return first[spare:].view("<u2")[:size].tolist(), iter(more.view("<u8").tolist())


def below(points, number):
    return sum(point <= number for point in points)


def test_more_undecided_counts_than_expected_draw_words_of_their_own():
    """Every half word is 0 and so in the cell of a partition point: 200 counts, with far fewer spare words."""
    rare = BinomialTable.of([2**32 - 2**20], 1)  # its one partition point halves the first cell

    class Low(Recorded):
        def words(self, count):
            words = super().words(count)
            if len(self.calls) == 1:
                words[-100:] = 0
            return words

    source = Low(0)
    counts = rare.sample(np.zeros((40, 5), dtype=np.uint8), source)
    assert [call.size for call in source.calls] == [2 * 16 + 100, 400]
    numbers = source.calls[1].astype("<u4").view("<u8") >> np.uint64(64 - PRODUCTION.more)
    assert np.array_equal(counts.reshape(-1), numbers >= 2**44)
    assert 50 < counts.sum() < 150


def test_equal_thresholds_have_equal_rows():
    table = BinomialTable.of([7, 7, 9, 9, 7], 3, 4, Bits(3, 3))
    rows = table.points.reshape(5, 3) - (np.arange(5, dtype=np.uint64) << np.uint64(6))[:, None]
    assert np.array_equal(rows[[0, 0, 2]], rows[[1, 4, 3]])
    assert (rows[0] != rows[2]).any()


def test_nothing_is_drawn_for_nothing():
    empty = level_table(QuantizerSpec(4, 5, 0.05, 0.1)).sample(np.empty((0, 5), dtype=np.uint8), SimulatedRandomness(0))
    assert empty.shape == (0, 5)
