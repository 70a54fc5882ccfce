"""A process that does not outlive the one that started it.

The launcher names itself in the environment of what it starts; a process that finds itself named there asks the
kernel for SIGTERM at its parent's death, however that dies. SIGKILL of a launcher so reaches every rank: the front end
of several ranks stops them in good order, a single one writes its checkpoint.
"""

import contextlib
import ctypes
import os
import signal
import sys

PARENT = "DAAIR_PARENT"
"""Environment variable with the process id of the parent that a child must not outlive."""

_PR_SET_PDEATHSIG = 1


def name_as_parent() -> dict[str, str]:
    """Return environment variables for processes that this one starts and that must end with it."""
    return {PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Get SIGTERM when the parent dies, if the parent has asked for it; Linux only, elsewhere nothing.

    Raises:
        SystemExit: it is dead already.
    """
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the line above
        raise SystemExit(128 + signal.SIGTERM)
