"""Print to a standard output whose reader may disappear, and format durations."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120  # columns of tables in files and pipes


def console() -> Console:
    """Return the console for progress output: the terminal, or plain text on standard output."""
    from rich.console import Console  # not needed by commands that only answer

    shown = Console(file=Lasting(), highlight=False)
    return shown if shown.is_terminal else Console(file=Lasting(), highlight=False, width=WIDTH)


def duration(seconds: float) -> str:
    """Return a duration as `45 s`, `12 min`, `3 h 20 min` or `2 d 4 h`."""
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


class Lasting:
    """A text stream whose reader may end early, such as `| head`, or the terminal of a lost connection.

    After the first failed write, its file descriptor is redirected to the null device. Later output, also by other
    writers to this descriptor, is then dropped without an error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`, or drop it if the reader is gone."""
        try:
            self._stream.write(text)
        except OSError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless the reader is gone."""
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
