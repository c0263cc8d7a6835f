"""A sweep over words one by one: is each released as itself, and not as another word or symbol?

Words are bet on with a likelihood ratio: how much likelier its outputs are where it is released as one of another
symbol. From a right client such a ratio grows past x with a chance of 1 / x at most, whenever the bet is ended (Wald,
1945; Ville, 1939), and so does the mean of several. So words that are soon seen to be right make room for others.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from del_audit.evidence.verification.binomial import Counts, Floats
from del_audit.evidence.verification.design import batch_rows
from del_audit.evidence.verification.finding import Measurement, Part
from del_audit.evidence.verification.words.driving import WordDriver
from mechanisms.randomness import Generator

SETTLED = math.log(8)
"""Of the odds for a right word, after which it is not sent again."""
DECIDED = math.log(1e12)
"""Of the odds for a wrong one, beyond the number of words."""
SWEEP_SHARE = 0.3
"""Rows of the sweep, as a share of those of the main design."""
_MEANING = (
    "A word is not released as itself: another word, another symbol or nothing of it is sent. Look for another map of "
    "words to symbols, another vocabulary, and words that are handled apart."
)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """What a sweep found. words: that it was over. log_ratios: of each, shape (words,). rows: that it took."""

    words: Counts
    log_ratios: Floats
    rows: int

    def tested(self) -> Measurement:
        """Returns the test of the mean ratio of all words."""
        mean = float(logsumexp(self.log_ratios)) - math.log(len(self.words))
        worst = int(self.log_ratios.argmax())
        text = (
            f"of {len(self.words)} words in {self.rows} tokens the word {self.words[worst]} is the likeliest to be "
            f"another, by a factor of {math.exp(min(700.0, float(self.log_ratios[worst]))):.3g}"
        )
        return Measurement("law", "words", *Part(math.exp(min(0.0, -mean)), text), _MEANING)


def sweep(driver: WordDriver, trials: int, rng: Generator) -> Sweep:
    """Returns what came of sending words again and again until each is seen to be right, or the rows are used up.

    The words of the lowest numbers, which are the commonest of many tokenizers, come first, and as many random ones.
    """
    law, most, batch = driver.spec, round(SWEEP_SHARE * trials), batch_rows(trials)
    held, missed = math.log(law.off / law.chance), math.log((1 - law.off) / max(1 - law.chance, 2.0**-64))
    growth = max(-law.chance * held - (1 - law.chance) * missed, 1e-9)
    number = min(law.words, max(1, int(most * growth / (2 * SETTLED))))
    common = (number + 1) // 2
    words = np.append(np.arange(common), common + rng.permutation(law.words - common)[: number - common])
    ratios, end = np.zeros(number), DECIDED + math.log(number)
    waiting, active, rows = list(range(number))[::-1], list[int](), 0
    while not driver.hopeless:
        active = [at for at in active if -SETTLED < ratios[at] < end]
        while waiting and len(active) < batch:
            active.append(waiting.pop())
        if not active or rows + len(active) > most:
            break
        tokens = words[active]
        rows += len(tokens)
        if (outputs := driver.ask(tokens)) is not None:
            ratios[active] += np.where(law.noise(tokens, outputs)[0], held, missed)
    return Sweep(words, ratios, rows)
