"""`python -m daair`: the same program as run.py."""

import sys

from daair.cli import main

if __name__ == "__main__":
    sys.exit(main())
