"""The reason why an attempt ended, found in the run's record, its exit status and its log."""

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
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
"""Signals by which somebody else ends a run; with others, such as SIGSEGV, it fails by itself."""

TAIL = 64 * 1024  # bytes at the end of a log that are searched


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        state: The run's state now.
        cause: The reason in one line; empty for a finished run.
        transient: Whether another attempt may succeed.
        out_of_memory: Whether the attempt ran out of memory.
        killed: Whether a process was killed from outside, which the run's own record may take for a failure.
    """

    state: State
    cause: str = ""
    transient: bool = False
    out_of_memory: bool = False
    killed: bool = False


def ending(
    status: Status,
    code: int,
    log: str,
    *,
    timeout: float | None = None,
    stopped: bool = False,
    before: str = "",
) -> Ending:
    """Return how an attempt ended and why.

    Args:
        status: The last status that the run recorded.
        code: The exit status of the attempt's first process; -n if signal n ended it.
        log: The output of the attempt.
        timeout: The time limit in seconds if the attempt was stopped for exceeding it, else None.
        stopped: Whether the user is stopping the sweep.
        before: When the run was done before the attempt, which was then only to measure it; empty otherwise.
    """
    not_measured = bool(code and before and status.finished == before)
    if status.state == "done" and not not_measured:  # a failure after the last step does not change the result
        return Ending("done")
    if timeout is not None:
        return Ending("failed", f"took longer than launch.timeout, {timeout:g} s; stopped after step {status.step}")
    if stopped:
        return Ending("interrupted", "stopped with the sweep")
    killed = False
    if ranks := re.findall(r"Signal \d+ \((SIG\w+)\) received by PID", log):  # torch's message about a killed rank
        state, cause, killed = "failed", f"a process was {_killed(ranks[0])}", ranks[0] == "SIGKILL"
    elif status.state in ("failed", "interrupted"):
        state, cause = status.state, status.message or status.state
    elif code < 0 or code - 128 in SIGNALS:  # a chosen status is not a signal: sys.exit(-1) is 255
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in SIGNALS else f"signal {number}"
        state, cause, killed = "failed", _killed(name), name in FROM_OUTSIDE
    else:
        state, cause = "failed", last_error(log) or f"ended with exit status {code}"
    if state == "failed" and (is_out_of_memory(cause) or status.state != "failed" and is_out_of_memory(log)):
        return Ending(state, cause, transient=True, out_of_memory=True)
    if killed:
        return Ending("interrupted", cause, killed=True)
    return Ending(state, cause, transient=state == "failed" and bool(PORT_IN_USE.search(cause + log)))


def _killed(name: str) -> str:
    return f"killed by {name}" + (" (by the system, for lack of memory?)" if name == "SIGKILL" else "")


def last_error(log: str) -> str:
    """Return the last line of a log that looks like an error message; empty if there is none."""
    lines = [line.strip() for line in log.splitlines() if re.match(r"^(\w+\.)*\w*(Error|Exception|error)\b.*: ", line)]
    return lines[-1] if lines else ""


def tail(file: Path, begin: int = 0, size: int = TAIL) -> str:
    """Return the last `size` bytes of a log as text, but nothing before byte `begin`; empty if it cannot be read."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(begin, stream.seek(0, os.SEEK_END) - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_lines(log: str, cause: str = "", count: int = 4) -> list[str]:
    """Return the last `count` informative lines of a log, without those that repeat `cause`."""
    lines = [line.rstrip()[:160] for line in log.splitlines() if not NOISE.search(line)]
    return [line for line in lines if not cause or cause[:140] not in line][-count:]
