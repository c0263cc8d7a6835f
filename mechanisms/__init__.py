"""The DEL pipeline: what the client and the server run. Nothing here knows of attacks or audits.

Only the names that need no torch are gathered here, so that the accountant starts at once.
"""

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

__all__ = ["QuantizerSpec", "UserError"]
