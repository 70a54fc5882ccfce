"""Why an attempt ended: from what the run recorded, how its process ended, and what its log says."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from daair.errors import is_out_of_memory
from daair.runs.record import State, Status

PORT_IN_USE = re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE)
NOISE = re.compile(r"^\s*$|^[-=]+|elastic|torch/distributed|^\s+[\^~]+$|^[WEI]\d{4} ")
SIGNALS = frozenset(signal.Signals)
TAIL = 64 * 1024  # bytes at the end of a log that are looked at


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        state: where the run stands now.
        cause: in one line; empty if it is done.
        transient: whether another attempt may go better; `out_of_memory` in particular.
    """

    state: State
    cause: str = ""
    transient: bool = False
    out_of_memory: bool = False


def ending(status: Status, code: int, log: str, *, timeout: float | None = None, stopped: bool = False) -> Ending:
    """Return what to think of an attempt.

    Args:
        status: what the run recorded last.
        code: exit status of its first process; -n if signal n ended it.
        log: what the attempt printed.
        timeout: its limit in seconds, if it was stopped for taking longer.
        stopped: whether the sweep itself is being stopped.
    """
    if status.state == "done":  # whatever happened to its processes afterwards
        return Ending("done")
    if timeout is not None:
        return Ending("failed", f"took longer than launch.timeout, {timeout:g} s; stopped after step {status.step}")
    if stopped:
        return Ending("interrupted", "stopped with the sweep")
    if killed := re.findall(r"Signal \d+ \((SIG\w+)\) received by PID", log):  # the front end of several ranks says so
        state, cause = "failed", f"a process was {_killed(killed[0])}"
    elif status.state in ("failed", "interrupted"):
        state, cause = status.state, status.message or status.state
    elif code < 0 or code - 128 in SIGNALS:  # other statuses above 128 are what a program chose: sys.exit(-1) is 255
        number = -code if code < 0 else code - 128
        state, cause = "failed", _killed(signal.Signals(number).name if number in SIGNALS else f"signal {number}")
    else:
        state, cause = "failed", last_error(log) or f"ended with exit status {code}"
    if state == "failed" and (is_out_of_memory(cause) or status.state != "failed" and is_out_of_memory(log)):
        return Ending(state, cause, transient=True, out_of_memory=True)
    return Ending(state, cause, transient=state == "failed" and bool(PORT_IN_USE.search(cause + log)))


def _killed(name: str) -> str:
    return f"killed by {name}" + (" (by the system, for lack of memory?)" if name == "SIGKILL" else "")


def last_error(log: str) -> str:
    """Return the last line of a log that looks like an error's."""
    lines = [line.strip() for line in log.splitlines() if re.match(r"^(\w+\.)*\w*(Error|Exception|error)\b.*: ", line)]
    return lines[-1] if lines else ""


def tail(file: Path, begin: int = 0, size: int = TAIL) -> str:
    """Return the end of a log, from byte `begin` at the earliest."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(begin, stream.seek(0, os.SEEK_END) - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_lines(log: str, cause: str = "", count: int = 4) -> list[str]:
    """Return the last lines of a log that say something, and more than `cause`."""
    lines = [line.rstrip()[:160] for line in log.splitlines() if not NOISE.search(line)]
    return [line for line in lines if not cause or cause[:140] not in line][-count:]
