"""The epsilon game: which of two words was sent, guessed from each output alone, and the epsilon that this proves."""

import math

import numpy as np

from del_audit.accounting.rivals.guarantee import rival_guarantee
from del_audit.evidence.games import EpsilonLimit
from del_audit.evidence.verification.binomial import at_least
from del_audit.evidence.verification.finding import Measurement
from del_audit.evidence.verification.guarantee import CONFIDENCE, DELTA, MEANING, EpsilonEvidence
from del_audit.evidence.verification.one_run import one_run_limit
from del_audit.evidence.verification.words.law import Mask
from del_audit.evidence.verification.words.sample import WordSample
from del_audit.statistics.intervals import clopper_pearson


def guarantee_test(main: WordSample) -> Measurement:
    """Returns the test of how many guesses are right, where an output lies in the support of one word alone."""
    right, wrong = _guesses(main)
    number = int(right.sum() + wrong.sum())
    chance = 1 / (1 + math.exp(-main.law.spec.log_odds))
    text = f"{right.sum()} of {number} guesses of a token's word are right, where the claim allows {100 * chance:.2f}%"
    p = float(at_least(right.sum(), number, chance)) if number and chance < 1 else 1.0
    return Measurement("guarantee", "one run of tokens", p, text, MEANING)


def epsilon_evidence(main: WordSample) -> EpsilonEvidence:
    """Returns what the game proves of one token's epsilon, beside the claimed one."""
    right, wrong = _guesses(main)
    tokens = len(right)
    number = int(right.sum() + wrong.sum())
    return EpsilonEvidence(
        EpsilonLimit(_two_sample_limit(main.of_kind("pair"), right, wrong), DELTA, CONFIDENCE, tokens // 2, 0),
        one_run_limit(max(tokens, 1), number, int(right.sum()), DELTA, CONFIDENCE),
        rival_guarantee(main.law.spec, DELTA).epsilon,
    )


def _guesses(main: WordSample) -> tuple[Mask, Mask]:
    """Returns which outputs of the game lie in the true word's support alone, and which in the other word's alone."""
    pair = main.of_kind("pair")
    other = pair.beside[:, 2]
    return pair.inside & (other == 0), ~pair.inside & (other == 1)


def _two_sample_limit(pair: WordSample, right: Mask, wrong: Mask) -> float:
    """Returns the largest epsilon at DELTA that is proved by how often outputs lie in one word's support alone.

    The rows of each word are a sample of its own; both directions hold at once.
    """
    best, confidence = 0.0, 1 - (1 - CONFIDENCE) / 2
    for word in np.unique(pair.word):
        own = pair.word == word
        if own.all():
            continue
        least = clopper_pearson(int(right[own].sum()), int(own.sum()), confidence)[0]
        most = clopper_pearson(int(wrong[~own].sum()), int((~own).sum()), confidence)[1]
        if least > DELTA:
            best = max(best, math.log((least - DELTA) / most))
    return best
