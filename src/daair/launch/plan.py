"""Choose the runs of a sweep and their order, in pure functions that start, read and write nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daair.config.accepted import seconds
from daair.config.identity import moved
from daair.config.jobs import Job
from daair.config.schema import Phase
from daair.errors import UserError, suggestion
from daair.launch.pool import Pool, Share
from daair.runs.record import Status

DONE = "done already"
"""Why a finished run is skipped."""


@dataclass(frozen=True)
class Selection:
    """The jobs of a sweep that are to run, and the others.

    Attributes:
        jobs: One job per run, in the order of their start.
        skipped: The name of each other job and the reason to skip it.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...]


EPOCH = 150_000
"""The assumed number of samples in an epoch, about that of the published mixes, where the images are not known."""


def processes(job: Job) -> int:
    """Return the number of processes of a job, each of which needs a device."""
    return job.config.launch.num_processes


def cost(job: Job) -> float:
    """Return a job's `train.budget` in seconds, or the number of pixels that it trains on: an estimate of its cost."""
    train, patch = job.config.train, job.config.mix.get("patch")
    if train.budget is not None:
        return seconds(train.budget) * processes(job)
    side = patch if isinstance(patch, int) else 1
    if train.epochs is not None:
        return train.epochs * EPOCH * side**2
    parts = train.progressive or (Phase(share=1.0),)
    pixels = sum(part.share * (part.batch_size or train.batch_size) * (part.patch or side) ** 2 for part in parts)
    return float(train.steps * train.accumulation * pixels)


def duration(job: Job) -> float:
    """Return the cost per process, an estimate of the job's duration."""
    return cost(job) / processes(job)


def select(
    jobs: Sequence[Job],
    pool: Pool,
    rerun: str,
    status: Callable[[Job], Status],
    lacks: Callable[[Job], bool] = lambda _: False,
) -> Selection:
    """Choose and order the jobs to run on the devices of `pool`; see `missing`.

    Raises:
        UserError: A job needs more devices than the pool has, or is not a training.
    """
    for job in jobs:
        if job.config.launch.nodes > 1:
            nodes = job.config.launch.nodes
            raise UserError(f"launch.nodes: {job.name} needs {nodes} machines; use hydra/launcher=slurm")
        pool.check(processes(job), job.name)
    chosen, skipped = missing(jobs, rerun, status, lacks)
    order = jobs[0].config.launch.order or {}
    check_order(jobs, order)
    return Selection(tuple(in_order(ordered(chosen, pool), order)), tuple(skipped))


def missing(
    jobs: Sequence[Job],
    rerun: str,
    status: Callable[[Job], Status],
    lacks: Callable[[Job], bool] = lambda _: False,
) -> tuple[list[Job], list[tuple[str, str]]]:
    """Choose the jobs to run.

    Args:
        jobs: The jobs of the command; several may be the same run.
        rerun: The value of `launch.rerun`: `failed` selects all unfinished runs, `none` skips those that failed, `all`
            also selects the finished ones.
        status: A function that returns the status of a job's run.
        lacks: A function that returns whether a finished run has yet to be measured on something; it is then selected.

    Returns:
        One job per run, in the given order, and the names of the other jobs with the reasons to skip them.

    Raises:
        UserError: A job is not a training, so that it has no run; or two jobs are one run with different data.
    """
    runs: dict[tuple, Job] = {}
    skipped = []
    for job in jobs:
        if (task := job.config.task.get("name")) != "train":
            raise UserError(
                f"hydra/launcher: task={task} is not a training; add hydra/launcher=basic to run it in this process"
            )
        state = status(job).state
        if job.run in runs:
            for key, places in moved(runs[job.run].config.mix, job.config.mix).items():
                why = "a run is known by the name of its data's folder and not by its place"
                raise UserError(f"{key}: {' and '.join(places)} would be one run, {job.name}, since {why}")
            skipped.append((job.name, f"the same run as {runs[job.run].name}"))
        elif state == "done" and rerun != "all" and not lacks(job):
            skipped.append((job.name, DONE))
        elif state == "failed" and rerun == "none":
            skipped.append((job.name, "failed before, and launch.rerun=none"))
        else:
            runs[job.run] = job
    return list(runs.values()), skipped


def ordered(jobs: Sequence[Job], pool: Pool) -> tuple[Job, ...]:
    """Return the jobs with the largest first if the sweep then ends sooner, else in the given order."""
    largest_first = sorted(jobs, key=cost, reverse=True)
    sooner = makespan(largest_first, pool) < makespan(jobs, pool) * (1 - 1e-9)
    return tuple(largest_first if sooner else jobs)


def in_order(jobs: Sequence[Job], order: Mapping[str, Sequence[Any]]) -> list[Job]:
    """Return the jobs with the values that `launch.order` lists first; earlier keys and values go before later ones."""
    places = {key: {str(value): place for place, value in enumerate(values)} for key, values in order.items()}
    return sorted(jobs, key=lambda job: [at.get(_value(job, key), len(at)) for key, at in places.items()])


def check_order(jobs: Sequence[Job], order: Mapping[str, Sequence[Any]]) -> None:
    """Check that the jobs of a sweep have the keys of `launch.order`, and at least one of each key's values.

    Other values may be missing, since part of a grid may be asked for, and seeds are added to a study (`seed=3,4`).

    Raises:
        UserError: No job has a key, or any of its values; all values of `seed` are allowed.
    """
    for key, values in order.items():
        known = list(dict.fromkeys(found for job in jobs if (found := _value(job, key)) is not None))
        if not known:
            raise UserError(f"launch.order: {key} is neither a config key nor a group of this sweep's runs")
        if key != "seed" and values and not set(known) & set(map(str, values)):
            value = str(values[0])
            hint = suggestion(value, known, f"; they have {', '.join(known)}")
            raise UserError(f"launch.order: no run has {key}={value}{hint}")


def _value(job: Job, key: str) -> str | None:
    """Return the text of a job's value of a key, its label, or its option of a group; None if it has none."""
    if key == "label":
        return job.label
    if key in job.config.choices:
        return job.config.choices[key]
    node: Any = job.config.to_dict()
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return str(node)


def first_fit(waiting: list[Job], pool: Pool, alone: Collection[str] = ()) -> tuple[Job, Share] | None:
    """Remove the first waiting job that has enough free devices, take these devices, and return both; else None.

    Jobs whose names are in `alone` do not share their devices.
    """
    for i, job in enumerate(waiting):
        if (share := pool.take(processes(job), job.name in alone)) is not None:
            del waiting[i]
            return job, share
    return None


@dataclass(frozen=True)
class Slot:
    """The planned devices of a job, and its begin and end in the units of its plan."""

    job: Job
    share: Share
    begin: float
    end: float


def schedule(jobs: Sequence[Job], pool: Pool, length: Callable[[Job], float] = duration) -> list[Slot]:
    """Return the planned slots of the jobs if each takes as long as `length` says; `pool` is not changed."""
    pool, waiting, slots = pool.copy(), list(jobs), []
    running: list[tuple[float, int, Share]] = []  # end, number (breaks ties), devices to give back
    now = 0.0
    while waiting or running:
        while (fit := first_fit(waiting, pool)) is not None:
            slots.append(Slot(*fit, begin=now, end=now + length(fit[0])))
            heapq.heappush(running, (slots[-1].end, len(slots), fit[1]))
        now, _, share = heapq.heappop(running)
        pool.give_back(share)
    return slots


def makespan(jobs: Sequence[Job], pool: Pool) -> float:
    """Return the planned end of the last job, in units of `cost`."""
    return max((slot.end for slot in schedule(jobs, pool)), default=0.0)
