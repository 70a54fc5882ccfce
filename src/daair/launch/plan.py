"""What a sweep runs and in which order. Pure functions: nothing is started, read or written here."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daair.config.identity import run_folder
from daair.config.validate import Config
from daair.errors import UserError
from daair.launch.pool import Pool, Share
from daair.runs.record import Status

Rerun = Literal["failed", "all", "none"]


@dataclass(frozen=True)
class Job:
    """One run that a sweep asks for.

    Attributes:
        folder: the run's folder.
        config: the run's config.
    """

    folder: Path
    config: Config

    @property
    def name(self) -> str:
        """`<study>/<label>-<config id>/seed<k>`."""
        return "/".join(self.folder.parts[-3:])

    @property
    def run(self) -> tuple[Path, str, str]:
        """What makes it the run that it is; the label does not."""
        study, variant, seed = self.folder.parents[1], self.folder.parent.name, self.folder.name
        return study, variant.rpartition("-")[2], seed

    @property
    def processes(self) -> int:
        """How many devices it needs at a time."""
        return self.config.launch.num_processes

    @property
    def cost(self) -> float:
        """Training pixels: what its duration grows with, as far as the config tells; the unit cancels out."""
        train, patch = self.config.train, self.config.mix.get("patch")
        side = patch if isinstance(patch, int) else 1
        return float(train.steps * train.accumulation * train.batch_size * side**2)

    @property
    def duration(self) -> float:
        """`cost` for each process."""
        return self.cost / self.processes


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        runs: each run once, in the order in which they are started.
        skipped: names of the others and why.
    """

    runs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...]


def jobs_of(configs: Iterable[Config]) -> list[Job]:
    """Return the jobs with these configs, in their order.

    Raises:
        UserError: a task that has no run folder.
    """
    jobs = []
    for config in configs:
        if (name := config.task.get("name")) != "train":
            raise UserError(f"hydra/launcher: task={name} is no training; add hydra/launcher=basic to do it here")
        jobs.append(Job(run_folder(config), config))
    return jobs


def make_plan(jobs: Sequence[Job], pool: Pool, rerun: Rerun, status: Callable[[Job], Status]) -> Plan:
    """Choose and order what is to be run on the devices of `pool`; see `missing`.

    Raises:
        UserError: a job asks for more than the pool has.
    """
    for job in jobs:
        if job.config.launch.nodes > 1:
            nodes = job.config.launch.nodes
            raise UserError(f"launch.nodes: {job.name} asks for {nodes} machines; hydra/launcher=slurm has them")
        pool.check(job.processes, job.name)
    runs, skipped = missing(jobs, rerun, status)
    return Plan(ordered(runs, pool), tuple(skipped))


def missing(
    jobs: Sequence[Job], rerun: Rerun, status: Callable[[Job], Status]
) -> tuple[list[Job], list[tuple[str, str]]]:
    """Choose what is to be run.

    Args:
        jobs: what is asked for; several may ask for the same run.
        rerun: `failed` runs everything that is not done, `none` leaves those alone that failed, `all` does also the
            finished ones again.
        status: how a job's run stands.

    Returns:
        Each run once, in its order; names of the others and why.
    """
    runs: dict[tuple, Job] = {}
    skipped = []
    for job in jobs:
        state = status(job).state
        if job.run in runs:
            skipped.append((job.name, f"the same run as {runs[job.run].name}"))
        elif state == "done" and rerun != "all":
            skipped.append((job.name, "done already"))
        elif state == "failed" and rerun == "none":
            skipped.append((job.name, "failed before, and launch.rerun=none"))
        else:
            runs[job.run] = job
    return list(runs.values()), skipped


def ordered(jobs: Sequence[Job], pool: Pool) -> tuple[Job, ...]:
    """Return the largest first where that ends the sweep sooner, else the order in which they were asked for."""
    largest_first = sorted(jobs, key=lambda job: -job.cost)
    sooner = makespan(largest_first, pool) < makespan(jobs, pool) * (1 - 1e-9)
    return tuple(largest_first if sooner else jobs)


def first_fit(waiting: list[Job], pool: Pool, alone: Collection[str] = ()) -> tuple[Job, Share] | None:
    """Take the first waiting job for which there are free devices out of the list, and take its devices.

    Those whose names are in `alone` share their devices with nobody.
    """
    for i, job in enumerate(waiting):
        if (share := pool.take(job.processes, job.name in alone)) is not None:
            del waiting[i]
            return job, share
    return None


@dataclass(frozen=True)
class Slot:
    """When a job would run, in units of `Job.cost`, and on which devices."""

    job: Job
    share: Share
    begin: float
    end: float


def schedule(jobs: Sequence[Job], pool: Pool) -> list[Slot]:
    """Return how the jobs would follow one another if their costs told their durations; `pool` stays as it is."""
    pool, waiting, slots = pool.copy(), list(jobs), []
    running: list[tuple[float, int, Share]] = []  # end, number (for equal ends), what is given back then
    now = 0.0
    while waiting or running:
        while (fit := first_fit(waiting, pool)) is not None:
            slots.append(Slot(*fit, begin=now, end=now + fit[0].duration))
            heapq.heappush(running, (slots[-1].end, len(slots), fit[1]))
        now, _, share = heapq.heappop(running)
        pool.give_back(share)
    return slots


def makespan(jobs: Sequence[Job], pool: Pool) -> float:
    """When the last of them would end, in units of `Job.cost`."""
    return max((slot.end for slot in schedule(jobs, pool)), default=0.0)
