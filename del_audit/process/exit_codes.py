"""The exit codes of all commands. A verdict has 0, 1 or 3; what is no verdict never does.

DONE: certified, valid, nothing found, written. REFUSED: the verdict, or the finding, is against what was asked.
USER_ERROR: something that the user can mend, standard output that could not be written among it. INCONCLUSIVE: no
verdict either way. UNEXPECTED: a fault of this program or its machine, which says nothing about what was asked; 70 is
EX_SOFTWARE of sysexits.h. The last three are 128 and the number of the signal, as shells have it.
"""

DONE = 0
REFUSED = 1
USER_ERROR = 2
INCONCLUSIVE = 3
UNEXPECTED = 70
HUNG_UP = 129
INTERRUPTED = 130
TERMINATED = 143
