"""End a process with an exit status, and print errors of the user in one line.

The status is 0 after success, 1 after a refusal or failure, and 128 + n after signal n.
"""

import os
import sys
from typing import NoReturn

from daair.errors import UserError, one_line

SIGNALLED = 128  # higher exit statuses mean that a signal ended the process


def leave(status: int) -> NoReturn:
    """End the process with this exit status."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Python ends gloo's threads in no fixed order, which sometimes aborts a rank (in 3 of 100 runs). All files are
        # written by now, so end at once.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def refuse(error: UserError | OSError) -> int:
    """Print an error in one line, in a run of several processes only on rank 0, and return the exit status.

    Raises:
        OSError: The error names no file or folder, or HYDRA_FULL_ERROR asks for tracebacks.
    """
    text = str(error)
    if not isinstance(error, UserError):
        if error.filename is None or os.environ.get("HYDRA_FULL_ERROR"):
            raise error
        text = f"{error.filename}: {error.strerror}"
    if os.environ.get("RANK", "0") == "0":
        print("error:", one_line(text), file=sys.stderr, flush=True)
    return 1
