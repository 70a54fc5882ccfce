"""The progress of a run, read from the end of metrics.jsonl, because status.json is only updated with checkpoints."""

from dataclasses import dataclass
from datetime import datetime

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
        left: Estimated remaining seconds of training; None if the run is not running or its speed is unknown.
        silent: Seconds since the run last wrote anything; None if it never did.
    """

    step: int
    steps: int
    psnr: float | None
    left: float | None
    silent: float | None

    @property
    def share(self) -> float:
        """The part of its updates that it has made, in [0, 1]."""
        return self.step / max(self.steps, 1)


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
    heard = max(filter(None, (_time(status.updated), newest and newest[0])), default=None)
    silent = None if heard is None else max(0.0, (now - heard).total_seconds())
    return Progress(step, status.steps, psnr, _left(status.steps, newest, oldest, now) if running else None, silent)


def _left(steps: int, newest: tuple | None, oldest: tuple | None, now: datetime) -> float | None:
    """Return the seconds from `now` to the last update at the speed between the oldest and the newest line."""
    if not steps or newest is None or oldest is None or newest[1] <= oldest[1]:
        return None
    per_step = (newest[0] - oldest[0]).total_seconds() / (newest[1] - oldest[1])
    return max(0.0, per_step * (steps - newest[1]) - (now - newest[0]).total_seconds())


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
