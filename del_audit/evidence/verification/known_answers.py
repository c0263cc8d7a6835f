"""The client on chosen random words beside the reference: what no number of calls would show.

Probabilities in float32 differ from the claimed ones by at most one part in 2^24: to see that in counts takes about
10^13 trials (Stein's lemma). On words that lie at the boundaries between two counts it takes one call.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import Floats, Levels
from del_audit.evidence.verification.driving import usable
from del_audit.evidence.verification.finding import Measurement, check
from mechanisms.levels import LEVELS, from_levels
from mechanisms.quantizer import StochasticQuantizer, level_table
from mechanisms.randomness import Generator, RandomSource, SimulatedRandomness
from mechanisms.sampler import UNDECIDED, BinomialTable
from mechanisms.spec import QuantizerSpec

Replay = Callable[[Floats, RandomSource], object]
Words = NDArray[np.uint32]

MOST_BOUNDARIES, MOST_TIES = 40_000, 100
"""Numbers beside boundaries, and on them: there the reference draws and compares thousands of bits."""
RANDOM_ROWS = 200
_MEANING = (
    "On the same random words the client does not give the reference's counts: its law differs from the claimed one, "
    "if by less than can be measured. Look for probabilities in float32 or float16, and comparisons with <= for <."
)


class ScriptedWords:
    """A source that gives out prepared words, one array a request, and a seeded stream after them."""

    def __init__(self, script: list[Words]) -> None:
        self._script = list(script)
        self._rest = SimulatedRandomness(0, "known answers")

    def words(self, count: int) -> Words:
        """Returns count words; of a prepared array that is too long the head, of one too short the stream's as well."""
        prepared = self._script.pop(0)[:count] if self._script else np.zeros(0, dtype=np.uint32)
        return np.concatenate([prepared, self._rest.words(count - len(prepared))])


def known_answers(replay: Replay, spec: QuantizerSpec, rng: Generator) -> list[Measurement]:
    """Returns the checks on random words, and on words at every boundary of the reference's tables."""
    seed = int(rng.integers(1 << 62))
    levels = rng.integers(0, LEVELS, (RANDOM_ROWS, spec.dim)).astype(np.uint8)
    at, script = boundary_script(spec)
    cases: dict[str, tuple[Levels, Callable[[], RandomSource]]] = {
        "random words": (levels, partial(SimulatedRandomness, seed, "known answers")),
        "boundary words": (at, partial(ScriptedWords, script)),
    }
    tested = []
    for name, (rows, source) in cases.items():
        values = from_levels(rows, spec.clip)
        right = f"all {rows.size} counts are those of the reference"
        tested.append(check("known answers", name, _differences(replay, values, source, spec), right, _MEANING))
    return tested


def _differences(replay: Replay, values: Floats, source: Callable[[], RandomSource], spec: QuantizerSpec) -> list[str]:
    expected = StochasticQuantizer(spec).quantize(values, source())
    try:
        answer = usable(replay(values.copy(), source()), values.shape, spec.trials)
    except MemoryError:
        raise
    except Exception as error:
        return [f"{type(error).__name__}: {str(error)[:100]}"]
    if isinstance(answer, str):
        return [f"the replay gave {answer}"]
    different = np.argwhere(answer != expected)
    if not len(different):
        return []
    row, column = different[0]
    return [
        f"{len(different)} of {answer.size} counts differ, first {answer[row, column]} for {expected[row, column]} at "
        f"{values[row, column] / spec.clip:+.4f} clip"
    ]


def boundary_script(spec: QuantizerSpec) -> tuple[Levels, list[Words]]:
    """Returns levels, uint8, shape (n, dim), and words that lead the reference to each boundary between two counts.

    At each boundary of each level the uniform number is one unit of its leading bits below or above, and at some it
    agrees with it in all of them; where there are too many boundaries, at evenly spread ones. The script is in the
    order in which BinomialTable.sample asks: a cell for every count, then further bits where the cell leaves it open.
    """
    table, trials = level_table(spec), spec.trials
    bits, keys = table.bits, _near_boundaries(table)
    keys = np.append(keys, np.repeat(keys[:1], -keys.size % spec.dim))
    levels, numbers = (
        (keys >> np.uint64(bits.leading)).astype(np.uint8),
        keys.astype(np.int64) & ((1 << bits.leading) - 1),
    )
    cells, further = numbers >> bits.more, numbers & ((1 << bits.more) - 1)
    undecided = table.cells[(levels.astype(np.int64) << bits.cell) + cells] == UNDECIDED
    more = (further[undecided].astype(np.uint64) << np.uint64(64 - bits.more)).view("<u4")
    spare = levels.size * trials * 2 // (1 << bits.cell) + 16
    head = np.zeros(2 * spare, dtype=np.uint32)
    head[: min(len(head), len(more))] = more[: len(head)]
    first = (cells.astype(np.uint16) << np.uint16(16 - bits.cell)).astype("<u2")
    first = np.append(first, np.zeros(len(first) % 2, dtype="<u2")).view("<u4")
    script = [np.concatenate([head, first]), more] if undecided.sum() > spare else [np.concatenate([head, first])]
    return levels.reshape(-1, spec.dim), script


def _near_boundaries(table: BinomialTable) -> NDArray[np.uint64]:
    """Returns level numbers with leading bits beside boundaries of their own level, then some on them: uint64."""
    points, leading = table.points, np.uint64(table.bits.leading)
    some = points[:: -(-len(points) // (MOST_BOUNDARIES // 2))]
    below, above = (some[some << np.uint64(8) != 0] - np.uint64(1)), some + np.uint64(1)
    beside = np.concatenate([below, above[above >> leading == some >> leading]])
    return np.concatenate([beside[~np.isin(beside, points)], points[:: -(-len(points) // MOST_TIES)]])
