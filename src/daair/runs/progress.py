"""The progress of a run: training from the end of metrics.jsonl, evaluation from status.json."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from daair.errors import UserError
from daair.runs.record import Record
from daair.runs.store import Run

SCORE = "val/psnr"


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        step: Number of optimizer updates so far, as recorded.
        steps: Number of updates in all; 0 until a run with `train.budget` has measured it.
        psnr: PSNR of the latest validation in dB, mean over degradations; None before the first validation.
        left: Estimated remaining seconds of training, or of the evaluation once the run evaluates; None if the run is
            not running or its speed is unknown.
        silent: Seconds since the run last wrote anything; None if it never did.
        measured, images: Number of test images so far and in all; 0 unless the run evaluates.
    """

    step: int
    steps: int
    psnr: float | None
    left: float | None
    silent: float | None
    measured: int = 0
    images: int = 0

    @property
    def share(self) -> float:
        """The part of its updates that it has made, in [0, 1]."""
        return min(1.0, self.step / max(self.steps, 1))

    @property
    def evaluates(self) -> bool:
        """Whether the run measures its test images."""
        return self.images > 0

    def whole(self, evaluation: float | None) -> float | None:
        """Return the remaining seconds with an evaluation of so many seconds; None if they are unknown."""
        return self.left if self.left is None or self.evaluates else self.left + (evaluation or 0.0)

    def __str__(self) -> str:
        return f"evaluating, {self.measured}/{self.images} images" if self.evaluates else f"{self.step}/{self.steps}"


def progress(run: Run, now: datetime) -> Progress:
    """Return the progress of a run.

    Args:
        run: A run from `daair.runs.store.read`.
        now: The current time with a time zone.
    """
    status, running = run.status, run.state == "running"
    step, psnr, newest, oldest = status.step, None, None, None
    for row in Record(run.folder).newest():
        psnr = row.get(SCORE) if psnr is None else psnr
        if not running and psnr is not None:
            break  # older lines only serve to compute the speed
        time = _time(row.get("time"))
        if time is None or (running and time < (_time(status.started) or time)):
            continue  # the line is from an earlier attempt
        newest, oldest = newest or (time, row["step"]), (time, row["step"])
    if newest is not None and running:
        step = max(step, newest[1])
    updated = _time(status.updated)
    heard = max(filter(None, (updated, newest and newest[0])), default=None)
    silent = None if heard is None else max(0.0, (now - heard).total_seconds())
    if running and status.images:
        begun = newest[0] if newest else _time(status.started)  # the last line comes just before the evaluation
        left = _left(status.images, (updated, status.measured), (begun, 0), now) if updated and begun else None
        return Progress(step, status.steps, psnr, left, silent, status.measured, status.images)
    return Progress(step, status.steps, psnr, _left(status.steps, newest, oldest, now) if running else None, silent)


def evaluation_seconds(runs: Iterable[Run]) -> float | None:
    """Return how long an evaluation takes: the mean of what finished runs have recorded; None if none has."""
    found = []
    for run in runs:
        if run.state == "done":
            try:
                found.append(Record(run.folder).summary().get("evaluation_seconds"))
            except UserError:
                continue  # the file is damaged
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) / len(known) if known else None


def _left(count: int, newest: tuple | None, oldest: tuple | None, now: datetime) -> float | None:
    """Return the seconds from `now` until all is done at the speed between the oldest and the newest (time, number)."""
    if not count or newest is None or oldest is None or newest[1] <= oldest[1]:
        return None
    each = (newest[0] - oldest[0]).total_seconds() / (newest[1] - oldest[1])
    return max(0.0, each * (count - newest[1]) - (now - newest[0]).total_seconds())


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
