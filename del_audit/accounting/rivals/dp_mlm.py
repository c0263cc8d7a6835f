"""DP-MLM: the temperature for an epsilon of a document. Its figures are those of clipped logits (theorem 25)."""

from del_audit.accounting.rivals.clipped_logits import cooled
from mechanisms.rivals.dp_mlm import DpMlmSpec


def calibrated(epsilon: float, delta: float, words: int, tokens: int, low: float, high: float, model: str) -> DpMlmSpec:
    """Returns about the least temperature that meets the epsilon for any two documents of `tokens` tokens.

    words: of the server's vocabulary. low, high: ends of the clip. model: the language model's sha256.
    """
    return cooled(lambda found: DpMlmSpec(words, tokens, low, high, found, model), low, high, epsilon, delta)
