"""How long the runs of a sweep take, from those of them that have been measured."""

from __future__ import annotations

from collections.abc import Iterable

from daair.config.jobs import Job
from daair.errors import UserError
from daair.launch.plan import duration
from daair.runs.progress import evaluation_seconds
from daair.runs.record import Record
from daair.runs.store import Run, read


class Pace:
    """The speed of the runs on one kind of device.

    Args:
        kind: `cpu` or `gpu`: only runs on such devices count; any other text: all runs count.

    Attributes:
        devices: The devices on which runs were measured.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.devices = kind, set[str]()
        self._speeds: dict[str, tuple[str, float]] = {}  # by run: config id, seconds per unit of `plan.duration`
        self._done: dict[str, Run] = {}
        self._shares: dict[str, float] = {}

    def look(self, job: Job) -> None:
        """Take what the record of a job's run tells now; nothing if it has not trained on such a device."""
        try:
            summary = Record(job.folder).summary()
        except UserError:
            return  # the file is damaged
        run = read(job.folder)
        status, seconds = run.status, summary.get("seconds")
        steps = job.config.train.steps or status.steps
        if not seconds or not status.step or not steps or self.kind not in (kind_of(status.device), "slurm"):
            return
        self.devices.add(status.device)
        share = min(1.0, status.step / steps)
        self._speeds[job.name] = job.id, seconds / (duration(job) * share)
        anew = run.state == "done" and job.config.launch.rerun == "all"
        self._shares[job.name] = 0.0 if anew else 1.0 if run.state == "done" else share
        if run.state == "done":
            self._done[job.name] = run

    @property
    def measured(self) -> int:
        """The number of runs whose speed is known."""
        return len(self._speeds)

    @property
    def evaluation(self) -> float | None:
        """The seconds of an evaluation; None before the first one."""
        return evaluation_seconds(self._done.values())

    def seconds(self, job: Job, guesses: Iterable[float] = ()) -> float | None:
        """Return how long a job takes from where it stands to its end, its evaluation included if that is known.

        Args:
            guesses: Seconds per unit of `plan.duration`, for a sweep without a measured run.

        Returns:
            The seconds by the speed of the same config, else by that of all measured runs, else by `guesses`; None if
            there is none of these.
        """
        own = [speed for config_id, speed in self._speeds.values() if config_id == job.id]
        known = own or [speed for _, speed in self._speeds.values()] or list(guesses)
        if not known:
            return None
        training = duration(job) * (1 - self._shares.get(job.name, 0.0)) * sum(known) / len(known)
        return training + (self.evaluation or 0.0)


def kind_of(device: str) -> str:
    """Return `cpu` or `gpu` for the device of a status, such as `2 x cpu`."""
    return "cpu" if device.endswith("cpu") else "gpu"
