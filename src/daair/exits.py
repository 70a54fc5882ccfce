"""How a process of the lab ends: with one line for what the user can put right, and an exit status.

The status is 0 when all was done, 1 when something was refused or failed, and 128 + n after signal n.
"""

import os
import sys
from typing import NoReturn

from daair.errors import UserError, one_line

SIGNALLED = 128  # exit statuses above it mean: ended by a signal


def leave(status: int) -> NoReturn:
    """End the process."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Leaving Python tears gloo's threads down in no fixed order, which aborts a rank now and then after all its
        # work is done (3 of 100 runs); everything is written by now, so leave at once.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def refuse(error: UserError | OSError) -> int:
    """Print an error in one line and return the exit status; of several processes of one run, only the first prints.

    Raises:
        OSError: The error is not about a file or folder, or HYDRA_FULL_ERROR asks for tracebacks.
    """
    text = str(error)
    if not isinstance(error, UserError):
        if error.filename is None or os.environ.get("HYDRA_FULL_ERROR"):
            raise error
        text = f"{error.filename}: {error.strerror}"
    if os.environ.get("RANK", "0") == "0":
        print("error:", one_line(text), file=sys.stderr, flush=True)
    return 1
