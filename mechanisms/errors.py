"""The one exception that a user can mend."""


class UserError(ValueError):
    """A value from outside that cannot be used.

    The message names the argument, the value and the allowed range, so that the reader can mend it
    without reading code. The command line prints it alone and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of what an error says, its kind where it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
