"""Run the program of run.py as `python -m daair`."""

from daair.cli import entry

if __name__ == "__main__":
    entry()
