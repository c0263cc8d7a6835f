"""What an exit code says. Every command's verdict is 0, 1 or 3; nothing that goes wrong ever uses those."""

SUCCESS = 0
USER_ERROR = 2
"""Something that the user can mend: one line says what."""
UNEXPECTED = 70
"""A fault of del-audit or of the machine (EX_SOFTWARE of sysexits.h). It says nothing about what was audited."""
INTERRUPTED = 130
TERMINATED = 143
