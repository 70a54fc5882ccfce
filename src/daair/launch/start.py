"""Start the jobs of a command: one in this process, a sweep with the launcher that the command chose.

Our launchers and the plain sweep take jobs as they are. Only a launcher or a sweeper of Hydra's (joblib, Optuna, ...)
needs Hydra's own run: it is given a `HydraTask`, an object that holds the command's jobs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig

from daair.components import locate
from daair.config.compose import VERSION_BASE, searches
from daair.config.jobs import Command, Job
from daair.errors import UserError
from daair.exits import SIGNALLED, refuse
from daair.runs.record import Record

Start = Callable[[Sequence[Job]], int]
"""Does several jobs and returns one exit status."""


def start(command: Command) -> int:
    """Do all jobs of a command and return the exit status, the highest of all.

    Raises:
        UserError: A job cannot be done; nothing has started.
    """
    jobs, chosen = command.jobs, command.master.hydra
    configure_log(chosen.job_logging, chosen.verbose)
    if not command.sweep:
        return do(jobs[0])
    launcher = str(chosen.launcher._target_)
    start_batch = in_turn if launcher.endswith(".BasicLauncher") else getattr(locate(launcher), "start", None)
    if searches(command.master) or start_batch is None:
        return by_hydra(command)
    worst = 0
    for batch in command.batches():
        if (
            status := start_batch([command.job(own) for own in batch])
        ) > SIGNALLED:  # the user stopped it, and with it what would follow
            return status
        worst = max(worst, status)
    return worst


def do(job: Job) -> int:
    """Do one job in this process and return its exit status; what goes wrong is printed."""
    try:
        for key, usual in {"dry_run": False, "rerun": "failed"}.items():
            if getattr(job.config.launch, key) != usual:
                raise UserError(f"launch.{key}: only a sweep with hydra/launcher=accelerate or slurm looks at it")
        return locate(job.config.task["_target_"])(job) or 0
    except (UserError, OSError) as error:
        return refuse(error)
    except Exception:
        traceback.print_exc()
        return 1


def in_turn(jobs: Sequence[Job]) -> int:
    """Do jobs one after the other in this process; one that fails does not stop the others."""
    worst = 0
    for number, job in enumerate(jobs, 1):
        print(f"job {number} of {len(jobs)}: {job.name}", flush=True)
        if (status := do(job)) > SIGNALLED:
            return status
        worst = max(worst, status)
    return worst


def by_hydra(command: Command) -> int:
    """Let Hydra's run sweep the command that stands in `sys.argv`, and return the exit status."""
    task, composer = HydraTask(command), command.composer
    Path(command.master.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sweepers write their results there
    hydra.main(version_base=VERSION_BASE, config_path=composer.folder, config_name=composer.config_name)(task)()
    return max(task.statuses, default=0)


class HydraTask:
    """What Hydra's sweepers and launchers get for a task: the jobs of a command, found by their overrides.

    Args:
        command: The command.

    Attributes:
        statuses: Exit statuses of the jobs that ended, those of other processes too where the sweeper tells them.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.searches = searches(command.master)
        self.statuses: list[int] = []

    def __call__(self, cfg: DictConfig) -> int | float | None:
        """Do the job that Hydra is at, in this process, and return what its sweeper looks at."""
        try:
            job = self.command.job(HydraConfig.get().overrides.task)
        except UserError as error:
            self.statuses.append(refuse(error))
            return None
        if (status := do(job)) > SIGNALLED:
            raise SystemExit(status)
        return self.outcome(job, status)

    def batch(self, overrides: Sequence[Sequence[str]], start_batch: Start) -> list[int | float | None]:
        """Do the jobs with these overrides by one of our launchers, and return what the sweeper looks at.

        Raises:
            SystemExit: A signal ended the batch, or it was refused.
        """
        try:
            jobs = [self.command.job(own) for own in overrides]
            status = start_batch(jobs)
        except UserError as error:
            raise SystemExit(refuse(error)) from None
        if status > SIGNALLED:
            raise SystemExit(status)
        self.statuses.append(status)
        return [self.outcome(job, int(Record(job.folder).status().state != "done")) for job in jobs]

    def outcome(self, job: Job, status: int) -> int | float | None:
        """Return the status of a job that ended; to a sweeper that searches the objective, or None for a failed job."""
        self.statuses.append(status)
        if not self.searches:
            return status
        try:
            return None if status else objective(job)
        except UserError as error:
            self.statuses.append(refuse(error))
            return None


def objective(job: Job) -> float:
    """Return the last value of the metric `launch.objective` of a job's run.

    Raises:
        UserError: The run has no such metric.
    """
    name, record = job.config.launch.objective, Record(job.folder)
    rows = record.metrics()
    for row in reversed(rows):
        if isinstance(value := row.get(name), int | float):
            return float(value)
    known = sorted({key for row in rows for key, value in row.items() if isinstance(value, int | float)} - {"step"})
    raise UserError(f"launch.objective: {record.folder} has no metric {name} (it has {', '.join(known) or 'none'})")
