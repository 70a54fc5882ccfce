"""Show the progress of long work: a live bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daair import stdout
from daair.runs.record import Record

LINE_EVERY = 10.0  # seconds between plain lines
NOTE_EVERY = 5.0  # seconds between notes of an evaluation in the run's record


class Reporter:
    """Prints lines and shows the progress of one task at a time.

    Args:
        active: Whether this process prints; only the main process should.
    """

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.console = stdout.console()

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.active:
            self.console.print(line, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, name: str, total: int, done: int = 0, unit: str = "images") -> Iterator["ProgressBar"]:
        """Show work of `total` parts, of which `done` are already done."""
        bar = ProgressBar(self, name, total, done, unit)
        with bar.live if bar.live is not None else contextlib.nullcontext():
            yield bar


class Evaluation:
    """Notes in the record of a run at work how many of its test images are measured, at times.

    Args:
        record: The run.
        images: The number of images, over all processes.
        processes: The number of processes that share the images.
    """

    def __init__(self, record: Record, images: int, processes: int) -> None:
        self.record, self.images, self.processes, self.done = record, images, processes, 0
        self.active = record.writer and record.status().state == "running"  # not of an old run that is measured again
        if self.active:
            record.update(measured=0, images=images)
        self._note_at = time.monotonic() + NOTE_EVERY

    def advance(self) -> None:
        """Count one more image of this process's share as measured."""
        self.done += 1
        if self.active and time.monotonic() >= self._note_at:
            self._note_at = time.monotonic() + NOTE_EVERY
            self.record.update(measured=min(self.done * self.processes, self.images))


class ProgressBar:
    """The progress of one piece of work, made by `Reporter.progress`."""

    def __init__(self, reporter: Reporter, name: str, total: int, done: int, unit: str) -> None:
        self.reporter, self.name, self.total, self.done, self.unit = reporter, name, total, done, unit
        self.begun, self.first = time.monotonic(), done
        self._line_at = self.begun + 2.0
        self._images = 0
        self.live: Progress | None = None
        if reporter.active and reporter.console.is_terminal:
            self.live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=reporter.console,
            )
            self._task = self.live.add_task(name, total=total, completed=done, note="")

    def advance(self, note: str = "", images: int = 0, parts: int = 1) -> None:
        """Count more parts as done, with `images` processed; `note` is shown beside them (loss, learning rate)."""
        self.done += parts
        self._images += images
        if images:
            note = f"{note}  {self.rate:.1f} {self.unit}/s".strip()
        if self.live is not None:
            self.live.update(self._task, completed=self.done, note=note)
        elif self.reporter.active and (time.monotonic() >= self._line_at or self.done == self.total):
            self._line_at = time.monotonic() + LINE_EVERY
            self.reporter.say(f"{self.name} {self.done}/{self.total}  {note}  left {self._left()}".replace("   ", "  "))

    @property
    def rate(self) -> float:
        """Return the images per second since the start."""
        return self._images / self.seconds

    @property
    def seconds(self) -> float:
        """Return the seconds since the start; above 0."""
        return max(1e-9, time.monotonic() - self.begun)

    def _left(self) -> str:
        seconds = (time.monotonic() - self.begun) / max(1, self.done - self.first) * (self.total - self.done)
        return stdout.duration(seconds)
