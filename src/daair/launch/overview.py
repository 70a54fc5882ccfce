"""Keep `<paths.runs>/index.html`, the page over all studies, up to date while a sweep runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from daair.config.jobs import Job

EVERY = 20.0  # seconds between two versions of the page, and after which a browser loads it again
SHARE = 0.02  # of the sweep's time at most is spent on the page, which takes seconds where there are thousands of runs


class Overview:
    """The pages of the folders that the jobs of a sweep write to. A page that cannot be written is left out.

    Args:
        jobs: The jobs of the sweep.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.folders = sorted({job.config.paths.runs for job in jobs})
        self._next = time.monotonic()

    def look(self) -> None:
        """Write the pages if it is time to."""
        if time.monotonic() < self._next:
            return
        begun = time.monotonic()
        self.write(EVERY)
        now = time.monotonic()
        self._next = now + max(EVERY, (now - begun) / SHARE)

    def write(self, every: float | None = None) -> None:
        """Write the pages; `every`: seconds after which a browser loads them again, None at the end of the sweep."""
        for folder in self.folders:
            with contextlib.suppress(Exception):  # a full disk or a bug in the page must not end the sweep
                from daair.report import index  # pandas takes a moment to import, in which the first runs have started

                index.write(folder, every)
