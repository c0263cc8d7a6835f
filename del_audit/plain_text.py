"""Text from outside on a terminal."""


def printable(text: object) -> str:
    """Returns text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in str(text))
