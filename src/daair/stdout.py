"""Standard output that may go away without taking the work along."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from rich.console import Console

WIDTH = 120  # columns of tables in files and pipes, which have no width of their own


def console() -> Console:
    """Return where everything is shown that may take long: the terminal, or plain text on standard output."""
    shown = Console(file=Lasting(), highlight=False)
    return shown if shown.is_terminal else Console(file=Lasting(), highlight=False, width=WIDTH)


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
        """The same for what was written before."""
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
