import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

import mechanisms
from mechanisms.errors import UserError
from mechanisms.randomness import SimulatedRandomness, SystemRandomness, simulation_generator, uniforms

FALSE_ALARM = 1e-6


def byte_law_p_value(words):
    """Returns the p-value of a chi-square test that each of a word's four bytes, and its neighbour's xor, is uniform.

    Every cell expects thousands, where the law of the statistic is as good as exact.
    """
    stream = words.astype("<u4").view(np.uint8).reshape(-1, 4)
    columns = [*stream.T, *(stream[1:] ^ stream[:-1]).T]
    p_values = [chisquare(np.bincount(column, minlength=256)).pvalue for column in columns]
    return min(1.0, len(p_values) * min(p_values))


@pytest.fixture
def fixed_key(monkeypatch):
    """The operating system's entropy, replaced by a key that repeats: a test of the law must not fail by chance."""
    monkeypatch.setattr("mechanisms.randomness.os.urandom", lambda size: bytes(range(size)))


def test_system_words_are_uniform(fixed_key):
    assert byte_law_p_value(SystemRandomness().words(1_000_000)) > FALSE_ALARM


@pytest.mark.parametrize(
    "fault",
    [
        lambda words: words & np.uint32(0xFFFFFFFE),
        lambda words: words >> np.uint32(1),
        lambda words: np.where(words < 1 << 24, words + np.uint32(1 << 24), words),
        lambda words: np.repeat(words[::2], 2),
    ],
    ids=["stuck bit", "31 bits", "a value left out", "each word twice"],
)
def test_law_test_rejects_words_that_are_not_uniform(fixed_key, fault):
    assert byte_law_p_value(fault(SystemRandomness().words(1_000_000))) < FALSE_ALARM


def test_system_words_are_the_aes_256_counter_stream(monkeypatch):
    monkeypatch.setattr("mechanisms.randomness.os.urandom", bytes)
    known = bytes.fromhex("dc95c078a2408989ad48a21492842087")  # AES-256 of the zero block under the zero key
    words = SystemRandomness().words(5)
    assert words.dtype == np.uint32
    assert words.shape == (5,)
    assert words.astype("<u4").tobytes()[:16] == known


def test_every_call_takes_a_fresh_key_of_256_bits(monkeypatch):
    asked, real = [], os.urandom

    def spy(size):
        asked.append(size)
        return real(size)

    monkeypatch.setattr("mechanisms.randomness.os.urandom", spy)
    source = SystemRandomness()
    assert asked == []  # nothing is kept that a fork could copy
    drawn = [source.words(64), source.words(64), SystemRandomness().words(64)]
    assert asked == [32, 32, 32]
    assert all((left != right).any() for left, right in combinations(drawn, 2))


def test_no_words_are_no_words():
    assert SystemRandomness().words(0).size == 0
    assert SimulatedRandomness(0).words(0).size == 0


def test_a_fork_draws_other_words_than_its_parent():
    program = (
        "import os, sys\n"
        "from mechanisms.randomness import SystemRandomness\n"
        "source = SystemRandomness()\n"
        "source.words(8)\n"
        "child = os.fork()\n"
        "os.write(1, (source.words(8).tobytes().hex() + '\\n').encode())\n"
        "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
    )
    root = Path(mechanisms.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    out = run.stdout.split()
    assert [len(line) for line in out] == [64, 64]
    assert out[0] != out[1]


def test_simulated_words_repeat_from_seed_and_labels_and_from_nothing_else():
    assert np.array_equal(SimulatedRandomness(7, "a").words(100), SimulatedRandomness(7, "a").words(100))
    others = [
        SimulatedRandomness(*arguments).words(100)
        for arguments in [(7, "a"), (8, "a"), (7,), (7, "b"), (7, "a", "b"), (7, "b", "a"), (7, "aaaa", "bbbb")]
    ]
    others.append(SimulatedRandomness(7, "aaaabbbb").words(100))
    assert all((left != right).any() for left, right in combinations(others, 2))


def test_simulated_words_go_on():
    source, whole = SimulatedRandomness(3), SimulatedRandomness(3).words(10)
    first, second = source.words(4), source.words(6)
    assert (first != second[:4]).any()
    assert np.array_equal(np.concatenate([first, second]), whole)


def test_simulated_words_are_uniform():
    assert byte_law_p_value(SimulatedRandomness(0).words(1_000_000)) > FALSE_ALARM


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(UserError, match="seed"):
        simulation_generator(seed)


def test_no_other_module_of_the_mechanism_draws_random_bits():
    drawing = ("np.random", "numpy.random", "import random", "torch.rand", "urandom", "secrets", "default_rng")
    for path in Path(mechanisms.__file__).parent.rglob("*.py"):
        if path.name != "randomness.py":
            text = path.read_text(encoding="utf8").replace("torch.random.fork_rng", "")  # text sampling at the server
            assert not [word for word in drawing if word in text], path.name


class Ones:
    """A source whose every word is the largest."""

    def words(self, count):
        return np.full(count, 2**32 - 1, dtype=np.uint32)


def test_uniform_numbers_are_inside_the_unit_interval():
    drawn = uniforms((1000, 3), SimulatedRandomness(0))
    assert drawn.shape == (1000, 3)
    assert 0 < drawn.min() < drawn.max() < 1
    top = uniforms((1,), Ones())[0]
    assert 0.5 < top < 1
    assert ((drawn * 2.0**53) % 2 == 1).all()
