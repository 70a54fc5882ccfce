"""Standard output that may go away without taking the work along, and how times are printed."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from rich.console import Console

WIDTH = 120  # columns of tables in files and pipes, which have no width of their own


def console() -> Console:
    """Return the console on which long work shows its progress: the terminal, or plain text on standard output."""
    shown = Console(file=Lasting(), highlight=False)
    return shown if shown.is_terminal else Console(file=Lasting(), highlight=False, width=WIDTH)


def duration(seconds: float) -> str:
    """Return a time as `45 s`, `12 min`, `3 h 20 min` or `2 d 4 h`."""
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


class Lasting:
    """A text stream whose reader may be gone: `| tee` after Ctrl-C, `| head`, the terminal of a lost connection.

    What cannot be written is dropped, for good: its descriptor leads nowhere from then on, so that nothing else that
    writes there fails either.

    Args:
        stream: default standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`, if there is still somebody who reads it."""
        try:
            self._stream.write(text)
        except OSError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if there is still somebody who reads it."""
        try:
            self._stream.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)
