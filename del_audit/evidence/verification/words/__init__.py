"""The battery for word mechanisms: randomized response, subset selection, projective geometry, coarse words."""

from del_audit.evidence.verification.words.battery import verify_words
from del_audit.evidence.verification.words.law import WordLaw
from del_audit.evidence.verification.words.power import WordDetects

__all__ = ["WordDetects", "WordLaw", "verify_words"]
