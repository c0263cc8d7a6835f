"""The one rule for "an attack beats the guarantee": its rate, its lower limit and its predicate, for every command.

The claim is that the implementation is broken. It is wrong with probability at most FALSE_ALARMS over all comparisons
that are judged together: each gets an equal share (Bonferroni), and only comparisons that have a bound are counted.
"""

from mechanisms.errors import UserError

FALSE_ALARMS = 1e-4
"""Probability that one run, over all that it judges together, calls a right implementation broken."""


def level_of(judged: int) -> float:
    """Returns the false-alarm rate of each of so many comparisons judged together; raises UserError for judged < 1."""
    if judged < 1:
        raise UserError(f"Expected judged >= 1, the comparisons that share the false alarms, got judged={judged}.")
    return FALSE_ALARMS / judged


def lower_limit(hits: int, tokens: int, judged: int) -> float:
    """Returns a lower limit of an attack's success that is wrong with probability at most level_of(judged).

    hits, tokens: guessed right, and attacked. judged: attacks, or rows, that are judged together and have a bound.
    Clopper and Pearson's (1934). It covers tokens of unequal chances too, for limits above their mean chance
    (Hoeffding, 1956). Raises UserError for counts out of range.
    """
    from del_audit.statistics.intervals import clopper_pearson  # heavy, and a verifier needs the predicate alone

    return clopper_pearson(hits, tokens, 1 - 2 * level_of(judged))[0]


def upper_limit(hits: int, tokens: int) -> float:
    """Returns an upper limit of a share, such as kappa, that is wrong with probability at most FALSE_ALARMS."""
    from del_audit.statistics.intervals import clopper_pearson

    return clopper_pearson(hits, tokens, 1 - 2 * FALSE_ALARMS)[1]


def contradicts(broken_below: float | None, allowed_upper: float | None) -> bool:
    """Returns whether a success whose lower limit this is beats what is allowed; equal is not beaten.

    None on either side: nothing bounds the attack. A limit that is not a number contradicts: it must not pass.

    >>> contradicts(0.31, 0.3), contradicts(0.3, 0.3), contradicts(None, 0.3)
    (True, False, False)
    """
    return broken_below is not None and allowed_upper is not None and not broken_below <= allowed_upper


def improbable(p_value: float, judged: int) -> bool:
    """Returns whether a p-value, of as few errors as a test made, contradicts the curve that bounds them.

    judged: points, of all games, that are judged together. Equal to the level is not improbable.
    """
    return not p_value >= level_of(judged)
