"""Processes that end with the process that started them.

A launcher puts its process id into the environment of its child processes. A child that finds it there asks the kernel
to send it SIGTERM when the launcher dies. So even after SIGKILL of the launcher, every rank writes its checkpoint and
ends.
"""

import os
import signal

from daair.exits import end_with

PARENT = "DAAIR_PARENT"
"""Name of the environment variable with the process id of the parent."""


def name_as_parent() -> dict[str, str]:
    """Return the environment variables for child processes that must end with this process."""
    return {PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Ask for SIGTERM at the parent's death if the environment names a parent; does nothing except on Linux.

    Raises:
        SystemExit: The parent is dead already.
    """
    parent = os.environ.get(PARENT)
    if parent is not None and not end_with(int(parent), signal.SIGTERM):
        raise SystemExit(128 + signal.SIGTERM)
