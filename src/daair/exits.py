"""End a process with an exit status, and print errors of the user in one line.

The status is 0 after success, 1 after a refusal or failure, and 128 + n after signal n.
"""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import traceback
from typing import NoReturn

from daair.errors import UserError, one_line

SIGNALLED = 128  # higher exit statuses mean that a signal ended the process
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # by which users, launchers and terminals stop a program
EXIT_LIMIT = 20.0  # seconds that Python has for its exit, in which it waits for threads, processes and W&B's service

_PR_SET_PDEATHSIG = 1


def leave(status: int) -> NoReturn:
    """End the process, with all processes that it started by `multiprocessing`, within `EXIT_LIMIT`."""
    if launched():
        # Python ends gloo's threads in no fixed order, which sometimes aborts a rank (in 3 of 100 runs). All files are
        # written by now, so end at once.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    end_within(EXIT_LIMIT)
    if children := multiprocessing.active_children():  # loader workers ignore the SIGTERM that Python would send
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises an error when one is killed
        for child in children:
            child.kill()
    sys.exit(status)


def launched() -> bool:
    """Return whether this is one of several processes that a launcher has started, by what it sets in the environment.

    `RANK` or `WORLD_SIZE` alone is left over from somewhere else, and so is one that is no number.
    """
    world = os.environ.get("WORLD_SIZE", "")
    rank = os.environ.get("RANK", "")
    numbered = world.isdigit() and rank.isdigit() and int(world) > 1
    return numbered and {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def end_within(seconds: float | None) -> None:
    """End this process after `seconds` with status 1, whatever it does then, and print where it was; None: do not.

    The last call counts. It works also while Python itself hangs.
    """
    if seconds is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def end_with(parent: int, number: int) -> bool:
    """Have the kernel send signal `number` to this process when its parent dies, however that dies; only on Linux.

    Args:
        parent: Process id of the parent that started this process.
        number: The signal.

    Returns:
        Whether the parent lives; one that has died before this call sends no signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


def refuse(error: UserError | OSError) -> int:
    """Print an error in one line, in a run of several processes only on rank 0, and return the exit status.

    An error of the system that names no file or folder gets a traceback, and with HYDRA_FULL_ERROR each of them.
    """
    text = str(error)
    if not isinstance(error, UserError):
        if error.filename is None or os.environ.get("HYDRA_FULL_ERROR"):
            traceback.print_exception(error)
            return 1
        text = f"{error.filename}: {error.strerror}"
    if not launched() or os.environ["RANK"] == "0":
        print("error:", one_line(text), file=sys.stderr, flush=True)
    return 1
