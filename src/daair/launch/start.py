"""Start the jobs of a command: a single one in this process, a sweep with the command's launcher.

Our launchers take jobs directly. Only another launcher or sweeper for Hydra (joblib, Optuna, ...) needs Hydra's own
run, which gets a `HydraTask` with the command's jobs.
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
"""A function that runs several jobs and returns one exit status."""

LAUNCHERS_OWN = {"dry_run": False, "rerun": "failed", "devices": None}
"""Keys of `launch` that only our launchers read, with the value that asks for nothing."""

GIVEN_TO_LAUNCHERS = ("slots", "runs_per_device", "order", "timeout", "retries")
"""More of them, which an experiment may set for its sweep, so that only the user's own overrides are refused."""


def start(command: Command) -> int:
    """Run all jobs of a command and return the highest exit status.

    Jobs of other tasks than training are done in this process, one after the other, unless a launcher is chosen.

    Raises:
        UserError: A job cannot be done; then none has started.
    """
    jobs, chosen = command.jobs, command.master.hydra
    configure_log(chosen.job_logging, chosen.verbose)
    launcher = str(chosen.launcher._target_)
    if not command.sweep:
        if not launcher.endswith((".BasicLauncher", ".AccelerateLauncher")):
            option = chosen.runtime.choices["hydra/launcher"]
            raise UserError(f"hydra/launcher={option}: starts the runs of a sweep; add -m, or leave it out")
        return do(jobs[0])
    trains = any(job.config.task.get("name") == "train" for job in jobs)
    here = launcher.endswith(".BasicLauncher") or not trains and launcher.endswith(".AccelerateLauncher")
    start_batch = in_turn if here else getattr(locate(launcher), "start", None)
    if searches(command.master) or start_batch is None:
        return by_hydra(command)
    if start_batch is in_turn:
        refuse_unused(jobs[0])
    worst = 0
    for batch in command.batches():
        if (
            status := start_batch([command.job(own) for own in batch])
        ) > SIGNALLED:  # the user stopped the whole command
            return status
        worst = max(worst, status)
    return worst


def do(job: Job) -> int:
    """Run one job in this process, print its errors, and return its exit status."""
    try:
        refuse_unused(job)
        return locate(job.config.task["_target_"])(job) or 0
    except (UserError, OSError) as error:
        return refuse(error)
    except Exception:
        traceback.print_exc()
        return 1


def refuse_unused(job: Job) -> None:
    """Raise a UserError if the job sets a key of launchers that only ours read."""
    values = {key: getattr(job.config.launch, key) for key in LAUNCHERS_OWN}
    given = {override.lstrip("+").partition("=")[0] for override in job.overrides}
    wrong = [key for key, usual in LAUNCHERS_OWN.items() if values[key] != usual]
    wrong += [key for key in GIVEN_TO_LAUNCHERS if f"launch.{key}" in given]
    if wrong:
        raise UserError(f"launch.{wrong[0]}: only a sweep of trainings by hydra/launcher=accelerate or slurm uses it")


def in_turn(jobs: Sequence[Job]) -> int:
    """Run jobs one after the other in this process, also after one failed, and return the highest exit status."""
    worst = 0
    for number, job in enumerate(jobs, 1):
        print(f"job {number} of {len(jobs)}: {job.name}", flush=True)
        if (status := do(job)) > SIGNALLED:
            return status
        worst = max(worst, status)
    return worst


def by_hydra(command: Command) -> int:
    """Run the sweep of the command in `sys.argv` by Hydra, and return the highest exit status."""
    task, composer = HydraTask(command), command.composer
    Path(command.master.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sweepers write their results there
    hydra.main(version_base=VERSION_BASE, config_path=composer.folder, config_name=composer.config_name)(task)()
    return max(task.statuses, default=0)


class HydraTask:
    """The task function for Hydra's sweepers and launchers, which finds the jobs of a command by their overrides.

    Attributes:
        statuses: Exit statuses of ended jobs; of jobs in other processes only if the sweeper reports them.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.searches = searches(command.master)
        self.statuses: list[int] = []

    def __call__(self, cfg: DictConfig) -> int | float | None:
        """Run Hydra's current job in this process and return the value for its sweeper."""
        try:
            job = self.command.job(HydraConfig.get().overrides.task)
        except UserError as error:
            self.statuses.append(refuse(error))
            return None
        if (status := do(job)) > SIGNALLED:
            raise SystemExit(status)
        return self.outcome(job, status)

    def batch(self, overrides: Sequence[Sequence[str]], start_batch: Start) -> list[int | float | None]:
        """Run the jobs with these overrides by one of our launchers and return their values for the sweeper.

        Raises:
            SystemExit: A signal ended the batch, or the batch was refused.
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
        """Return the exit status of a job; for a searching sweeper the objective, or None if the job failed."""
        self.statuses.append(status)
        if not self.searches:
            return status
        try:
            return None if status else objective(job)
        except UserError as error:
            self.statuses.append(refuse(error))
            return None


def objective(job: Job) -> float:
    """Return the last value of the metric `launch.objective` in the record of a job's run.

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
