"""python -m del_audit: the same as the command `del-audit`."""

from del_audit.entry import main

if __name__ == "__main__":
    main()
