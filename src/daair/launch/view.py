"""Show the progress of a sweep: a line per running run, counts, and the time left; plain lines without a terminal.

All information is read from the runs' folders.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daair import stdout
from daair.config.identity import moved
from daair.config.jobs import Job
from daair.errors import UserError
from daair.launch.causes import Ending, last_lines, tail
from daair.launch.pace import Pace
from daair.launch.plan import DONE, Selection, duration, processes, schedule
from daair.launch.pool import Pool, Share
from daair.runs import store
from daair.runs.own_code import changed, noted, own_code
from daair.runs.progress import Progress, progress
from daair.runs.record import Record

LINE_EVERY = 30.0  # seconds between plain lines about the running runs
LOOK_EVERY = 1.0  # seconds between two readings of the folders
NAMED = 8  # the number of skipped runs that are named; further ones are counted


def trained_otherwise(job: Job) -> Iterator[str]:
    """Yield how a finished run began that is otherwise now: before the user's code changed, with data elsewhere."""
    record = Record(job.folder)
    if now := own_code(job.config.to_dict()):
        yield from (f"before the code of {package} changed" for package in changed(noted(record.environment), now))
    with contextlib.suppress(UserError):  # a damaged config, which the task that reads it reports
        for key, (old, new) in moved(record.config().get("mix") or {}, job.config.mix).items():
            yield f"with {key}={old}, which is {new} now"


class View:
    """The display of a sweep.

    Args:
        jobs: All jobs of the sweep; those that have been measured tell how long the others take.
        console: The console to print on; by default the terminal or standard output.
    """

    def __init__(self, pool: Pool, jobs: Sequence[Job], console: Console | None = None) -> None:
        self.pool = pool
        self.console = console or stdout.console()
        self._live: Live | None = None
        self._total, self._ended = 0, 0
        self._look_at, self._line_at = 0.0, time.monotonic() + LINE_EVERY
        self.pace = Pace(pool.kind)
        for job in jobs:
            self.pace.look(job)
        self._given = {job.name: job for job in jobs}
        self._jobs: dict[str, Job] = {}
        self._anew = any(job.config.launch.rerun == "all" for job in jobs)

    def say(self, line: str) -> None:
        """Print a line, above the live display if there is one."""
        self.console.print(line, markup=False, soft_wrap=True)

    def skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Print the skipped runs, a line for each reason, and those that older code or perhaps other data trained."""
        reasons: dict[str, list[str]] = {}
        for name, why in skipped:
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            self.say(f"skipped {len(names)} ({why}): {_first(names)}")
        warnings: dict[str, list[str]] = {}
        for name in [name for name, why in skipped if why == DONE]:
            for how in trained_otherwise(self._given[name]):
                warnings.setdefault(how, []).append(name)
        for how, names in warnings.items():
            began = f"warning: {len(names)} of them began {how}: {_first(names)}"
            self.say(f"{began}; launch.rerun=all trains every run of this command again")

    def dry_run(self, selection: Selection) -> None:
        """Print the planned order and devices of the runs, and when they begin and end.

        Times are percentages of the whole sweep until one of its runs has been measured.
        """
        self.skipped(selection.skipped)
        known = self.pace.measured > 0
        slots = schedule(selection.jobs, self.pool, self.pace.seconds if known else duration)
        total = max((slot.end for slot in slots), default=0.0)
        table = Table(title=f"{len(selection.jobs)} runs on {self.pool}", title_justify="left")
        for name, justify in (("run", "left"), ("processes", "right"), ("device", "left"), ("from", "right")):
            table.add_column(name, justify=justify, overflow="fold")
        table.add_column("to", justify="right")
        for slot in slots:
            moments = (slot.begin, slot.end)
            times = [stdout.duration(moment) if known else f"{100 * moment / total:.0f} %" for moment in moments]
            table.add_row(slot.job.name, str(processes(slot.job)), " ".join(slot.share.devices), *times)
        self.console.print(table)
        if known:
            runs = f"{self.pace.measured} measured run{'s' * (self.pace.measured > 1)}"
            text = f"about {stdout.duration(total)} in all, by {runs} on {', '.join(sorted(self.pace.devices))}"
            self.say(f"{text}{self._without_evaluation(selection.jobs)}")
        elif slots:
            self.say(
                f"times are parts of the whole, and hours once a run has been measured on a {self.pool.kind.upper()}"
            )
        self.say("launch.dry_run: nothing was started")

    @contextlib.contextmanager
    def live(self, total: int) -> Iterator[None]:
        """Show the sweep of `total` runs while the block lasts."""
        self._total, self._began = total, time.monotonic()
        if total:
            self.say(f"{total} run{'s' * (total > 1)} on {self.pool}")
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=4, transient=True) as self._live:
            yield
        self._live = None

    def started(self, job: Job, share: Share) -> None:
        """Report that a run has started."""
        self._jobs[job.name] = job
        if self._live is None:
            kind = "slot" if self.pool.kind == "cpu" else "GPU"
            self.say(f"started {job.name} on {kind} {' '.join(share.devices)}")

    def again(self, job: Job, end: Ending) -> None:
        """Report that a failed run starts again."""
        self.say(f"again   {job.name}: {end.cause}")

    def ended(self, job: Job, end: Ending, seconds: float) -> None:
        """Report that a run has ended."""
        self._jobs[job.name] = job
        self._ended += 1
        self.pace.look(job)
        why = f": {end.cause}" if end.cause else ""
        self.say(f"[{self._ended}/{self._total}] {end.state} {job.name} after {stdout.duration(seconds)}{why}")

    def stopping(self, first: bool) -> None:
        """Report the reaction to a signal, which depends on whether it was the first."""
        self.say("stopping: runs write their checkpoints (once more to kill them)" if first else "killing all runs")

    def update(self, running: Sequence[Job], waiting: Sequence[Job], endings: Mapping[str, Ending]) -> None:
        """Update the display if it is due; the sweep calls this at every turn of its loop."""
        now = time.monotonic()
        if now < self._look_at or (self._live is None and now < self._line_at):
            return
        self._look_at, self._line_at = now + LOOK_EVERY, now + LINE_EVERY
        seen = [(job, progress(store.read(job.folder), datetime.now(UTC))) for job in running]
        counts = self._counts(seen, waiting, endings)
        if self._live is None:
            self.say(counts)
            for job, look in seen:
                self.say(f"  {job.name}  {_numbers(job, look)}")
            return
        table = Table.grid(padding=(0, 2))
        for job, look in seen:
            bar = "━" * round(24 * look.share)
            table.add_row(Text(job.name), f"{bar:<24}", _numbers(job, look))
        self._live.update(Group(table, Text(counts)))

    def _counts(self, seen: Sequence, waiting: Sequence[Job], endings: Mapping[str, Ending]) -> str:
        states = Counter(end.state for end in endings.values())
        left = self._left(seen, waiting)
        text = f"running {len(seen)}, queued {len(waiting)}, done {states['done']}, failed {states['failed']}"
        text += f", stopped {states['interrupted']}" if states["interrupted"] else ""
        if left is None:
            return text
        unknown = self._without_evaluation([*(job for job, _ in seen), *waiting])
        return f"{text}, about {stdout.duration(left)} left{unknown}"

    def _without_evaluation(self, jobs: Sequence[Job]) -> str:
        """Return the end of a text on the time of these jobs if that does not include their evaluation."""
        evaluates = any(job.config.benchmarks != {} for job in jobs)
        return " without evaluation" if evaluates and self.pace.evaluation is None else ""

    def _left(self, seen: Sequence[tuple[Job, Progress]], waiting: Sequence[Job]) -> float | None:
        """Estimate the seconds until the end of the sweep from the speed of its runs; None while that is unknown."""
        trains = [(job, look) for job, look in seen if look.left and look.share < 1 and not look.evaluates]
        speeds = [look.left / (duration(job) * (1 - look.share)) for job, look in trains]
        lefts = [self._rest(job, look, speeds) for job, look in seen]
        lefts += [self.pace.seconds(job, speeds) for job in waiting]
        if None in lefts:
            return None
        jobs = [*(job for job, _ in seen), *waiting]
        work = sum(left * processes(job) for job, left in zip(jobs, lefts, strict=True))
        return max([*lefts, work / (len(self.pool.devices) * self.pool.room)], default=0.0)

    def _rest(self, job: Job, look: Progress, speeds: Sequence[float]) -> float | None:
        """Estimate the seconds until the end of a running job, its evaluation included if that is known."""
        whole = look.whole(self.pace.evaluation)
        if whole is None and look.evaluates:
            return self.pace.evaluation
        return self.pace.seconds(job, speeds) if whole is None else whole

    def summary(self, endings: Mapping[str, Ending], stopped: bool) -> None:
        """Print counts of the runs, and for those not done a table with causes and the ends of their logs.

        Args:
            endings: How each run ended, by run name.
            stopped: Whether the user stopped the sweep, so that interrupted runs need no explanation.
        """
        states = Counter(end.state for end in endings.values())
        bad = {n: end for n, end in endings.items() if end.state not in ("done", "interrupted" if stopped else "done")}
        if bad:
            table = Table(title=f"{len(bad)} of {self._total} runs are not done", title_justify="left", show_lines=True)
            for column in ("run", "state", "cause and end of the log"):
                table.add_column(column, overflow="fold")
            for name, end in bad.items():
                log = Record(self._jobs[name].folder).log_file
                lines = [] if end.state == "interrupted" else last_lines(tail(log), end.cause)
                table.add_row(Text(name), end.state, Text("\n".join([end.cause, *lines, str(log)])))
            self.console.print(table)
        if endings:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            same = "the same command" + ", with launch.rerun=failed," * self._anew
            remedy = f"; {same} goes on with the others" if bad or stopped else ""
            self.say(f"{counts} in {stdout.duration(time.monotonic() - self._began)}{remedy}")


def _first(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _numbers(job: Job, look: Progress) -> str:
    """Return the known figures of a run, such as `300/900  41.2 images/s  24.71 dB  left 58 s`, without evaluation."""
    if look.evaluates:
        return "  ".join(filter(None, [str(look), "" if look.left is None else f"left {stdout.duration(look.left)}"]))
    rates = (row.get("train/images_per_second") for row in Record(job.folder).newest())
    rate = next(filter(None, rates), None)
    parts = [
        f"{look.step}/{look.steps or '?'}",
        "starting" if rate is None else f"{rate:.1f} images/s",
        "" if look.psnr is None else f"{look.psnr:.2f} dB",
        "" if look.left is None else f"left {stdout.duration(look.left)}",
    ]
    return "  ".join(filter(None, parts))
