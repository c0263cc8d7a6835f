"""The one exception that a user can mend."""


class UserError(ValueError):
    """A value from outside that cannot be used.

    The message names the argument, the value and the allowed range, so that the reader can mend it
    without reading code. The command line prints it alone and exits with code 2.
    """
