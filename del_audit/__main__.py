"""python -m del_audit: the same as the command `del-audit`."""

import sys

from del_audit.cli import main

if __name__ == "__main__":
    sys.exit(main())
