"""`python -m daair`: the same program as run.py."""

from daair.cli import entry

if __name__ == "__main__":
    entry()
