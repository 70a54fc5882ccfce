"""Choose what a sweep does and in which order. Pure functions: nothing is started, read or written here."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from daair.config.jobs import Job
from daair.errors import UserError
from daair.launch.pool import Pool, Share
from daair.runs.record import Status


@dataclass(frozen=True)
class Selection:
    """Which jobs of a sweep are to be done.

    Attributes:
        jobs: Each run once, in the order in which they are started.
        skipped: Names of the others, and why.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...]


def processes(job: Job) -> int:
    """Return how many devices a job needs at a time."""
    return job.config.launch.num_processes


def cost(job: Job) -> float:
    """Return a job's training pixels: what its duration grows with, as far as the config tells."""
    train, patch = job.config.train, job.config.mix.get("patch")
    side = patch if isinstance(patch, int) else 1
    return float(train.steps * train.accumulation * train.batch_size * side**2)


def duration(job: Job) -> float:
    """Return `cost` for each process."""
    return cost(job) / processes(job)


def select(jobs: Sequence[Job], pool: Pool, rerun: str, status: Callable[[Job], Status]) -> Selection:
    """Choose and order what is to be done on the devices of `pool`; see `missing`.

    Raises:
        UserError: A job asks for more than the pool has, or is no training.
    """
    for job in jobs:
        if job.config.launch.nodes > 1:
            nodes = job.config.launch.nodes
            raise UserError(f"launch.nodes: {job.name} asks for {nodes} machines; hydra/launcher=slurm has them")
        pool.check(processes(job), job.name)
    chosen, skipped = missing(jobs, rerun, status)
    return Selection(ordered(chosen, pool), tuple(skipped))


def missing(
    jobs: Sequence[Job], rerun: str, status: Callable[[Job], Status]
) -> tuple[list[Job], list[tuple[str, str]]]:
    """Choose what is to be done.

    Args:
        jobs: What is asked for; several may ask for the same run.
        rerun: `launch.rerun`: `failed` does everything that is not done, `none` leaves those alone that failed, `all`
            does also the finished ones again.
        status: Tells how a job's run stands.

    Returns:
        Each run once, in its order; names of the others, and why.

    Raises:
        UserError: A job is no training, so that it has no run.
    """
    runs: dict[tuple, Job] = {}
    skipped = []
    for job in jobs:
        if (task := job.config.task.get("name")) != "train":
            raise UserError(f"hydra/launcher: task={task} is no training; add hydra/launcher=basic to do it here")
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
    largest_first = sorted(jobs, key=cost, reverse=True)
    sooner = makespan(largest_first, pool) < makespan(jobs, pool) * (1 - 1e-9)
    return tuple(largest_first if sooner else jobs)


def first_fit(waiting: list[Job], pool: Pool, alone: Collection[str] = ()) -> tuple[Job, Share] | None:
    """Take the first job for which there are free devices out of the waiting ones, and take its devices.

    Jobs whose names are in `alone` share their devices with nobody.
    """
    for i, job in enumerate(waiting):
        if (share := pool.take(processes(job), job.name in alone)) is not None:
            del waiting[i]
            return job, share
    return None


@dataclass(frozen=True)
class Slot:
    """When a job would run, in units of `cost`, and on which devices."""

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
            slots.append(Slot(*fit, begin=now, end=now + duration(fit[0])))
            heapq.heappush(running, (slots[-1].end, len(slots), fit[1]))
        now, _, share = heapq.heappop(running)
        pool.give_back(share)
    return slots


def makespan(jobs: Sequence[Job], pool: Pool) -> float:
    """Return when the last of the jobs would end, in units of `cost`."""
    return max((slot.end for slot in schedule(jobs, pool)), default=0.0)
