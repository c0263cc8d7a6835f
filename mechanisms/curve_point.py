"""Which 32 bytes may be an Ed25519 public key: the one encoding of a point that has the signature's large order.

A point of small order makes signatures mean nothing: one constant value verifies under it for any document. A second
encoding of a point would be a second name of one key. Libraries accept both (Chalkias, Garillot and Nikolaenko,
"Taming the many EdDSAs", 2020), so it is asked here.
"""

from mechanisms.errors import UserError

PRIME = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME
KEY_BYTES = 32
_ORDER_EIGHT = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
SMALL_ORDER = frozenset({0, 1, PRIME - 1, _ORDER_EIGHT, PRIME - _ORDER_EIGHT})
"""The y coordinates of the eight points of order 1, 2, 4 and 8."""


def require_sound(key: bytes, what: str = "an Ed25519 public key") -> None:
    """Raises UserError unless key, 32 bytes, is the canonical encoding of a point whose order is not small.

    what: its name in the error.
    """
    if reason := _fault(key):
        raise UserError(
            f"Expected {what}, got {key.hex()}: {reason}. No key that `del-audit key new` makes is one; ask its owner "
            "for the file KEY.pub."
        )


def _fault(key: bytes) -> str | None:
    if len(key) != KEY_BYTES:
        return f"it has {len(key)} bytes in place of {KEY_BYTES}"
    y = int.from_bytes(key, "little") & ((1 << 255) - 1)
    if y >= PRIME:
        return "it is not the canonical encoding of a point"
    if y in SMALL_ORDER:
        return "it is a point of small order, under which one signature verifies for any document"
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME  # of x
    return None if pow(square, (PRIME - 1) // 2, PRIME) == 1 else "it is no point of the curve"
