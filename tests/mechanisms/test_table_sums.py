"""Sums over a table in blocks are those of the whole table, and make no copy of it."""

import tracemalloc

import numpy as np
import pytest

from mechanisms import table_sums
from mechanisms.projection import EncoderSettings, fit_codes
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.table_sums import covariance, cross_sum, mean_square, projected, weighted_sum


@pytest.fixture(params=[1 << 29, 7 * 8 * 20, 1], ids=["one block", "blocks of seven", "row by row"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(table_sums, "BLOCK_BYTES", request.param)


@pytest.fixture(scope="module")
def made():
    generator = simulation_generator(0, "table sums")
    table = (generator.standard_normal((52, 20)) * 10.0 ** generator.integers(-3, 3, 20)).astype(np.float32)
    return table, generator.dirichlet(np.ones(52)), generator.standard_normal((52, 3))


@pytest.mark.usefixtures("blocks")
def test_every_sum_is_that_of_the_whole_table(made):
    table, weights, left = made
    whole = table.astype(np.float64)
    mean = weights @ whole
    np.testing.assert_allclose(weighted_sum(table, weights), mean, rtol=1e-13)
    assert mean_square(table, weights) == pytest.approx(float(weights @ (whole**2).sum(1)), rel=1e-13)
    found, wanted = covariance(table, weights, mean), ((whole - mean) * weights[:, None]).T @ (whole - mean)
    scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    assert np.abs(np.triu(found - wanted) / scale).max() < 1e-13
    np.testing.assert_allclose(cross_sum(left, table, mean), left.T @ (whole - mean), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(projected(table, mean, left[:20]), (whole - mean) @ left[:20], rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("blocks")
def test_the_table_is_left_as_it_is(made):
    table, weights, left = made
    before = table.copy()
    mean = weighted_sum(table, weights)
    covariance(table, weights, mean), cross_sum(left, table, mean), projected(table, mean, left[:20])
    assert np.array_equal(table, before)


def test_codes_of_blocks_are_those_of_the_whole(made, monkeypatch):
    table, weights, _ = made
    spec = QuantizerSpec.from_mu(4, 6, 0.05, 8.0)
    whole = fit_codes(table, weights, spec, EncoderSettings())
    monkeypatch.setattr(table_sums, "BLOCK_BYTES", 5 * 8 * 20)
    np.testing.assert_allclose(fit_codes(table, weights, spec, EncoderSettings()), whole, rtol=0, atol=1e-10)


def test_a_large_table_is_never_copied_whole(monkeypatch):
    monkeypatch.setattr(table_sums, "BLOCK_BYTES", 1 << 20)
    generator = simulation_generator(1, "table sums")
    table = generator.standard_normal((40_000, 128), dtype=np.float32)  # 20 MB, 41 MB in float64
    weights = np.full(40_000, 1 / 40_000)
    tracemalloc.start()
    try:
        mean = weighted_sum(table, weights)
        mean_square(table, weights), covariance(table, weights, mean)
        cross_sum(np.ones((40_000, 2)), table, mean), projected(table, mean, np.ones((128, 2)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
