"""Run a sweep on this machine: queue all runs first, then start them as devices become free.

A loop in one thread starts runs, notices those that ended, and updates the display. No run outlives this process, even
if it is killed (`daair.launch.parents`), and the same command continues with the unfinished runs.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daair.config import overrides
from daair.config.jobs import Job
from daair.errors import UserError, reason
from daair.exits import STOPPING
from daair.launch.causes import Ending, ending, tail
from daair.launch.overview import Overview
from daair.launch.plan import DONE, Selection, first_fit, processes, select
from daair.launch.pool import Pool, Share, find_pool
from daair.launch.processes import Attempt
from daair.launch.view import View
from daair.runs.record import Busy, Record
from daair.runs.shelf import set_aside

TICK = 0.05  # seconds between two turns of the loop


def sweep(jobs: Sequence[Job]) -> int:
    """Run the unfinished jobs on this machine's devices.

    Returns:
        The exit status: 0 if all runs are done, 1 if not, 128 + n after signal n.

    Raises:
        UserError: There are too few devices, or a folder cannot be written.
    """
    launch, pool = jobs[0].config.launch, find_pool([job.config for job in jobs])
    selection = select(jobs, pool, launch.rerun, lambda job: Record(job.folder).status(), lacks)
    view = View(pool, jobs)
    if launch.dry_run:
        view.dry_run(selection)
        return 0
    selection = queue(selection, anew=launch.rerun == "all")
    view.skipped(selection.skipped)
    scheduler = Scheduler(selection.jobs, pool, view)
    scheduler.run()
    view.summary(scheduler.endings, stopped=scheduler.signal != 0)
    if scheduler.signal:
        scheduler.overview.write()
        return 128 + scheduler.signal
    make_tables(jobs)
    scheduler.overview.write()
    return int(any(end.state != "done" for end in scheduler.endings.values()))


def lacks(job: Job) -> bool:
    """Return whether a finished run has not measured all that its job asks for now."""
    from daair.engine.unmeasured import lacks_measurements  # imports pandas, which a first sweep does not need

    try:
        return lacks_measurements(job.config, Record(job.folder))
    except UserError:  # a damaged table, which the run itself reports
        return True


def queue(selection: Selection, anew: bool = False) -> Selection:
    """Freeze the config of every selected job and return the selection without runs that other processes work on.

    Args:
        anew: Whether trained runs start again from the beginning; their folders are renamed to hidden ones and kept.
            Otherwise they are only measured.

    Raises:
        UserError: A folder cannot be written.
    """
    queued, skipped = [], []
    for job in selection.jobs:
        record = Record(job.folder)
        try:
            with record.lock():
                status = record.status()
                if status.state == "done" and not anew and not lacks(job):  # another process finished it meanwhile
                    skipped.append((job.name, DONE))
                    continue
                if status.state == "done" and anew:
                    set_aside(job.folder)
            with record.lock():  # the lock of a folder that was set aside has gone with it
                if status.state == "done" and not anew:  # only to be measured; its rows stay valid meanwhile
                    record.freeze_measuring(job.config.to_dict(), job.overrides)
                    record.job_file.unlink(missing_ok=True)
                else:
                    record.queue(job.config.to_dict(), job.config.train.steps or 0, job.overrides)
            queued.append(job)
        except Busy as error:
            skipped.append((job.name, str(error).partition(";")[0]))
        except OSError as error:
            raise UserError(f"{job.folder}: cannot be written ({error.strerror})") from error
    return Selection(tuple(queued), (*selection.skipped, *skipped))


def _seen_to(job: Job) -> str | None:
    """Return why a queued run need not start: another process has done it or works on it; None if it must start."""
    record = Record(job.folder)
    try:
        with record.lock():
            return DONE if record.status().state == "done" and not lacks(job) else None
    except Busy as error:
        return str(error).partition(";")[0]


def make_tables(jobs: Sequence[Job]) -> None:
    """Collate each study of the sweep that was chosen by `experiment=NAME`, as `task=collate study=NAME` does.

    If that fails, one line says so, and the sweep's exit status stays the same. Of other studies one line tells how.
    """
    studies = {(job.config.paths.runs, job.config.study): job for job in jobs if "experiment" in job.config.choices}
    for (_, study), job in studies.items():
        try:
            from daair.tasks.collate import collate

            collate(job)
        except Exception as error:  # a bug in the report must not make the sweep fail
            hint = "" if isinstance(error, UserError) else f"; task=collate study={study} tells more"
            print(f"no table of {study}: {reason(error)}{hint}", file=sys.stderr, flush=True)
    others = [job for job in jobs if "experiment" not in job.config.choices]
    others = [job.config for job in others if Record(job.folder).status().state == "done"]
    for study, runs in dict.fromkeys((config.study, config.paths.runs) for config in others):
        print(f"the study's table: {overrides.table_command(study, runs)}", flush=True)


@dataclass
class Running:
    """A run in progress, with its devices and processes; `before`: when it was done, if it is only measured."""

    job: Job
    share: Share
    attempt: Attempt
    before: str = ""


class Scheduler:
    """A scheduler that starts runs as devices become free, and handles their end."""

    def __init__(self, jobs: Sequence[Job], pool: Pool, view: View) -> None:
        self.waiting, self.pool, self.view, self.overview = list(jobs), pool, view, Overview(jobs)
        self.running: list[Running] = []
        self.endings: dict[str, Ending] = {}
        self.attempts: Counter[str] = Counter()
        self.alone: set[str] = set()  # jobs that ran out of memory, perhaps because they shared a device
        self.signal = 0  # number of the first signal received
        self._signals, self._told = 0, False  # count of signals not handled yet; whether runs were asked to stop

    def run(self) -> None:
        """Run all jobs and return when none waits or runs."""
        with self._listening(), self.view.live(len(self.waiting)):
            try:
                while self.waiting or self.running:
                    self._obey()
                    self._start()
                    self._reap()
                    self.view.update([run.job for run in self.running], self.waiting, self.endings)
                    self.overview.look()
                    time.sleep(TICK)
            except BaseException:  # after a bug in this loop, too, every run must write its checkpoint and end
                self._abandon()
                raise

    def _obey(self) -> None:
        """React to signals; a handler cannot, as it may interrupt the start of a run before its entry in `running`."""
        count, self._signals = self._signals, 0
        if count:
            first = not self._told
            self._told = True
            self.waiting.clear()
            for run in self.running:
                run.attempt.stop() if first else run.attempt.kill()
            self.view.stopping(first)

    def _abandon(self) -> None:
        """Stop all runs after their checkpoints; kill them if a signal arrives meanwhile."""
        self._signals = 0
        for run in self.running:
            run.attempt.stop()
        while [run for run in self.running if run.attempt.poll() is None]:
            if self._signals:
                for run in self.running:
                    run.attempt.kill()
            time.sleep(TICK)

    def _start(self) -> None:
        while (fit := first_fit(self.waiting, self.pool, self.alone)) is not None:
            job, share = fit
            launch, record = job.config.launch, Record(job.folder)
            if (why := _seen_to(job)) is not None:
                self.pool.give_back(share)
                self.view.skipped([(job.name, why)])
                continue
            status = record.status()
            before = status.finished if status.state == "done" else ""
            try:
                attempt = Attempt(
                    job.folder,
                    record.log_file,
                    processes(job),
                    self.pool.environment(share),
                    trust=job.trust,
                    cpu=self.pool.kind == "cpu",
                    timeout=launch.timeout,
                    grace=launch.grace,
                    forked=launch.warm,
                )
            except OSError as error:  # the disk is full, no more processes, ...
                self.pool.give_back(share)
                self._end(job, Ending("failed", reason(error)))
                continue
            self.attempts[job.name] += 1
            self.running.append(Running(job, share, attempt, before))
            self.view.started(job, share)

    def _reap(self) -> None:
        for run in list(self.running):
            if (code := run.attempt.poll()) is None:
                continue
            self.running.remove(run)
            self.pool.give_back(run.share)
            record = Record(run.job.folder)
            status, log = record.status(), tail(record.log_file, run.attempt.log_begin)
            # No process of the attempt is left. If the run is locked, another sweep started it at the same moment.
            if code and status.state != "done" and (why := _seen_to(run.job)) is not None:
                self.view.skipped([(run.job.name, why)])
                continue
            limit = run.attempt.timeout if run.attempt.timed_out else None
            end = ending(status, code, log, timeout=limit, stopped=bool(self.signal), before=run.before)
            self._note(record, end)
            if end.transient and not self.signal and self.attempts[run.job.name] <= run.job.config.launch.retries:
                self._again(run.job, end)
            else:
                self._end(run.job, end, time.monotonic() - run.attempt.begun)

    def _again(self, job: Job, end: Ending) -> None:
        if end.out_of_memory:
            self.alone.add(job.name)
        Record(job.folder).note("queued", "")  # else this status might be taken for that of the next attempt
        self.waiting.insert(0, job)
        self.view.again(job, end)

    def _end(self, job: Job, end: Ending, seconds: float = 0.0) -> None:
        self.endings[job.name] = end
        self.view.ended(job, end, seconds)

    def _note(self, record: Record, end: Ending) -> None:
        """Record the end of a run that could not record it itself."""
        status = record.status()
        unknown = status.state in ("queued", "running")
        mistaken = end.state == "failed" and (status.state, status.message) != (end.state, end.cause)
        if unknown or end.killed or mistaken:
            record.note(end.state, end.cause)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Count signals within the block: the first one stops all runs after their checkpoints, the next kills them."""

        def note(number: int, frame: object) -> None:
            self.signal, self._signals = self.signal or number, self._signals + 1

        old = {number: signal.signal(number, note) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
