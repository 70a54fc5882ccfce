"""Run a sweep on a Slurm cluster: submit the unfinished runs that are not queued yet, then optionally wait for them.

The sweep's process may end at any time. The runs' folders hold the numbers of their Slurm jobs, so the same command
finds queued and running jobs again, submits the others and waits for all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from daair.config.jobs import Job
from daair.config.schema import Config
from daair.errors import UserError
from daair.launch import slurm
from daair.launch.causes import Ending
from daair.launch.plan import Selection, check_order, in_order, missing
from daair.launch.sweep import lacks, make_tables, queue
from daair.launch.view import View
from daair.runs.record import Record
from daair.runs.squeue import jobs as slurm_jobs

INTERRUPTED = 130  # exit status after Ctrl-C


def sweep(jobs: Sequence[Job]) -> int:
    """Submit the unfinished jobs to Slurm and, with `launch.wait`, wait for them.

    Returns:
        The exit status: 0 if all runs are done (or submitted, with launch.wait=false), 1 if not, 130 after Ctrl-C.

    Raises:
        UserError: Slurm does not answer or refuses a job, or a folder cannot be written.
    """
    launch = jobs[0].config.launch
    check_order(jobs, launch.order or {})
    missed, skipped = missing(jobs, launch.rerun, lambda job: Record(job.folder).status(), lacks)
    missed = in_order(missed, launch.order or {})
    held = in_queue(jobs)
    waiting = [job for job in missed if job.name in held]
    skipped += [(job.name, f"with Slurm already, job {held[job.name].partition('_')[0]}") for job in waiting]
    selection = Selection(tuple(job for job in missed if job.name not in held), tuple(skipped))
    view = View(Cluster(), jobs)
    if launch.dry_run:
        view.skipped(selection.skipped)
        for job in selection.jobs:
            view.say(f"would be submitted: {job.name}: {request(job.config)}")
        return 0
    selection = queue(selection, anew=launch.rerun == "all")
    view.skipped(selection.skipped)
    numbers = slurm.submit(selection.jobs)
    for job in selection.jobs:
        view.say(f"submitted {job.name} as Slurm job {numbers[job.folder]}")
    if not launch.wait:
        view.say(f"python run.py task=status study={jobs[0].config.study} shows how they stand")
        return 0
    numbers_by_name = held | {job.name: numbers[job.folder] for job in selection.jobs}
    status = Watch([*waiting, *selection.jobs], numbers_by_name, view).run(launch.slurm.poll)
    if status != INTERRUPTED:
        make_tables(jobs)
    return status


def in_queue(jobs: Sequence[Job]) -> dict[str, str]:
    """Return the runs with a queued or running Slurm job, as run name -> job number.

    Raises:
        UserError: Slurm does not answer.
    """
    states = slurm_jobs()
    if states is None:
        raise UserError(
            "hydra/launcher=slurm: squeue does not answer; give this command on a login node of the cluster"
        )
    numbers = {job.name: Record(job.folder).job() for job in jobs}
    return {name: number for name, number in numbers.items() if number in states}


def request(cfg: Config) -> str:
    """Return the resources that a run requests, in words."""
    asked = slurm.resources(cfg)
    machines = f"{cfg.launch.nodes} machine{'s' * (cfg.launch.nodes > 1)}"
    each = f"{cfg.launch.num_processes} processes, {asked['cpus_per_task']} CPUs, {asked.get('gpus_per_node', 0)} GPUs"
    return f"{machines} with {each} for {cfg.launch.slurm.time} minutes"


@dataclass
class Cluster:
    """A stand-in for `Pool` in the display of a sweep on Slurm."""

    kind: str = "slurm"
    devices: tuple[str, ...] = ("",)
    room: int = 1

    def __str__(self) -> str:
        return "Slurm"


class Watch:
    """A loop that waits until no run has a Slurm job any more.

    Args:
        numbers: The numbers of their Slurm jobs, by run name.
    """

    def __init__(self, jobs: Sequence[Job], numbers: Mapping[str, str], view: View) -> None:
        self.left, self.numbers, self.view = list(jobs), numbers, view
        self.endings: dict[str, Ending] = {}
        statuses = {job.name: Record(job.folder).status() for job in jobs}
        self.before = {name: status.finished for name, status in statuses.items() if status.state == "done"}

    def run(self, poll: float) -> int:
        """Ask Slurm every `poll` seconds until all runs have ended, and return the exit status."""
        begun, answered = time.monotonic(), True
        try:
            with self.view.live(len(self.left)):
                while self.left:
                    states = slurm_jobs()
                    if answered != (answered := states is not None):
                        self.view.say("Slurm answers again" if answered else "Slurm does not answer; asking again")
                    if states is not None:
                        self._look(states, begun)
                    if self.left:
                        time.sleep(poll)
        except KeyboardInterrupt:
            arrays = {self.numbers[job.name].partition("_")[0] for job in self.left}
            self.view.say(
                f"{len(self.left)} runs stay with Slurm; the same command waits for them again, "
                f"scancel {' '.join(sorted(arrays, key=int))} ends them"
            )
            return INTERRUPTED
        self.view.summary(self.endings, stopped=False)
        return int(any(end.state != "done" for end in self.endings.values()))

    def _look(self, states: Mapping[str, str], begun: float) -> None:
        for job in [job for job in self.left if self.numbers[job.name] not in states]:
            self.left.remove(job)
            self.endings[job.name] = end = ending(job, self.numbers[job.name], self.before.get(job.name, ""))
            self.view.ended(job, end, time.monotonic() - begun)
        busy = {job.name: job for job in self.left if states[self.numbers[job.name]].startswith("RUNNING")}
        self.view.pool = replace(self.view.pool, devices=("",) * max(1, len(busy)))
        self.view.update([*busy.values()], [job for job in self.left if job.name not in busy], self.endings)


def ending(job: Job, number: str, before: str = "") -> Ending:
    """Return how a run ended whose Slurm job is gone; a run that could not record its end is marked interrupted.

    Args:
        job: The run.
        number: The number of its Slurm job.
        before: When the run was done before, if it was only to be measured; empty otherwise.
    """
    record = Record(job.folder)
    status = record.status()
    if status.state == "done" and before and status.finished == before and lacks(job):
        return Ending("failed", f"Slurm job {number} ended before it had measured all; see {record.log_file}")
    if status.state == "done":
        return Ending("done")
    if status.state in ("failed", "interrupted"):
        return Ending(status.state, status.message)
    cause = f"Slurm job {number} ended before the run did: cancelled, killed, or out of its time; see {record.log_file}"
    record.note("interrupted", cause)
    return Ending("interrupted", cause)
