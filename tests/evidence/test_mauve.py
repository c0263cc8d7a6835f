"""MAUVE against frontiers computed by hand, and what any such distance must do."""

import math

import numpy as np
import pytest

from del_audit.evidence.mauve import SCALE, frontier, mauve_of_counts, measure_mauve
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator


def texts(count, centre, *labels):
    """Returns embeddings around a few directions that centre names, float64, shape (count, 16)."""
    directions = simulation_generator(centre, "directions").normal(size=(5, 16))
    generator = simulation_generator(0, *labels)
    return directions[generator.integers(0, 5, count)] + 0.3 * generator.normal(size=(count, 16))


def test_equal_histograms_have_all_of_the_area():
    assert mauve_of_counts(np.array([3.0, 1.0, 6.0]), np.array([30.0, 10.0, 60.0])) == pytest.approx(1.0, abs=1e-12)


def test_disjoint_histograms_have_the_area_of_the_beta_integral():
    # KL(q || r) = -log(1 - w) and KL(p || r) = -log w, so that y = w^c, x = (1 - w)^c: c B(c, c + 1) = 1 / 252 at c = 5
    p, q = np.array([5.0, 5.0, 0.0]), np.array([0.0, 0.0, 7.0])
    assert mauve_of_counts(p, q, points=100_001) == pytest.approx(1 / 252, rel=1e-6)
    assert mauve_of_counts(p, q) == pytest.approx(1 / 252, rel=0.25)


def test_a_frontier_computed_by_hand():
    x, y = frontier(np.array([0.8, 0.2]), np.array([0.4, 0.6]), points=3)
    first, second = math.log(0.4 / 0.6), math.log(0.6 / 0.4)
    middle = (
        math.exp(-SCALE * (0.4 * first + 0.6 * second)),
        math.exp(-SCALE * (0.8 * math.log(0.8 / 0.6) + 0.2 * math.log(0.2 / 0.4))),
    )
    end = math.exp(-SCALE * (0.4 * math.log(0.4 / 0.8) + 0.6 * math.log(0.6 / 0.2)))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 1, 1, 0)
    assert (x[2], y[2]) == pytest.approx(middle, rel=1e-12)
    assert (x[1], y[1]) == pytest.approx((end, 1.0), rel=1e-4)
    area = sum((b - a) * (c + d) / 2 for a, b, c, d in zip(x, x[1:], y, y[1:], strict=False))
    assert mauve_of_counts(np.array([8.0, 2.0]), np.array([4.0, 6.0]), points=3) == pytest.approx(area, rel=1e-12)


def test_it_is_symmetric_and_smoothing_brings_histograms_nearer():
    p, q = simulation_generator(1, "counts").integers(0, 20, (2, 12)).astype(float)
    assert mauve_of_counts(p, q) == pytest.approx(mauve_of_counts(q, p), rel=1e-9)
    assert mauve_of_counts(p, q, 0.5) > mauve_of_counts(p, q)


def test_counts_with_a_leading_index_are_each_their_own():
    p, q = simulation_generator(2, "counts").integers(1, 20, (2, 4, 6)).astype(float)
    assert mauve_of_counts(p, q) == pytest.approx([float(mauve_of_counts(a, b)) for a, b in zip(p, q, strict=True)])


def test_texts_like_the_references_are_near_one_and_others_near_zero():
    same = measure_mauve(texts(200, 1, "a"), texts(200, 1, "b"), seed=0)
    other = measure_mauve(texts(200, 1, "a"), texts(200, 2, "b"), seed=0)
    assert same.plain.value > 0.9
    assert other.plain.upper < 0.05
    assert same.buckets == 20
    assert 0 <= other.plain.lower <= other.plain.value <= other.plain.upper < same.plain.lower <= same.plain.upper <= 1
    assert (same.plain.unit, same.smoothed.unit, same.plain.seed) == ("MAUVE", "MAUVE*", 0)
    assert measure_mauve(texts(200, 1, "a"), texts(200, 1, "a"), seed=0).plain.value == pytest.approx(1.0)


def test_it_falls_as_contamination_grows():
    references = texts(200, 1, "b")
    clean, dirty = texts(200, 1, "a"), texts(200, 2, "a")
    values = [
        measure_mauve(np.concatenate([dirty[:bad], clean[bad:]]), references, seed=0).smoothed.value
        for bad in (0, 60, 120, 200)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.8


def test_the_interval_covers_the_expectation_in_fixed_buckets(monkeypatch):
    from del_audit.evidence import mauve

    monkeypatch.setattr(mauve, "buckets_of", lambda features, buckets, seed: features[:, 0].astype(np.int64))
    generator, p = simulation_generator(3, "coverage"), np.linspace(1, 3, 20) / 40
    figures = []
    for _ in range(200):
        drawn = [generator.choice(20, (200, 1), p=shares).astype(float) for shares in (p, p[::-1])]
        figures.append(measure_mauve(*drawn, seed=0).plain)
    truth = np.mean([figure.value for figure in figures])
    assert np.mean([figure.lower <= truth <= figure.upper for figure in figures]) >= 0.92


def test_texts_that_are_all_alike_are_one_bucket():
    rows = np.ones((20, 4))
    assert measure_mauve(rows, rows, seed=0).plain.value == pytest.approx(1.0)


def test_measure_mauve_refuses():
    rows = texts(20, 1, "a")
    for wrong in (rows[:10], rows[:, :3], rows[0], np.full_like(rows, np.nan)):
        with pytest.raises(UserError, match="finite embeddings"):
            measure_mauve(rows, wrong, seed=0)
    with pytest.raises(UserError, match=r"buckets in 2\.\.20.*buckets=21"):
        measure_mauve(rows, rows, seed=0, buckets=21)
    with pytest.raises(UserError, match="two documents"):
        measure_mauve(rows, rows, seed=0, clusters=["x"] * 20)
