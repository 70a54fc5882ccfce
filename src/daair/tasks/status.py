"""`task=status`: print the state of a study's runs, or a line for each study; files are only read.

This module does not import torch, so that it answers quickly on a busy machine.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from daair.config.jobs import Job
from daair.data.listing import check_folder
from daair.engine.progress import Reporter
from daair.errors import UserError, nearest
from daair.runs import squeue as queue
from daair.runs.progress import evaluation_seconds, progress
from daair.runs.record import STATES, Record
from daair.runs.store import Run, read, run_folders, studies
from daair.stdout import duration

SILENT = 900.0  # seconds without a new line after which a running run is reported as silent
COLOURS = {"running": "cyan", "done": "green", "failed": "red", "interrupted": "yellow", "unreadable": "red"}


def status(job: Job) -> int:
    """Print the state of the runs and return the exit status.

    Raises:
        UserError: There is no such study; the message lists the existing ones.
    """
    cfg = job.config
    console = Reporter().console
    if Path(cfg.paths.runs).exists():
        check_folder(cfg.paths.runs, "paths.runs: ")
    if cfg.study is None:
        overview(cfg.paths.runs, console)
        return 0
    runs = [read(folder) for folder in run_folders(cfg.paths.runs, cfg.study)]
    if not runs:
        raise UserError(no_study(cfg.paths.runs, cfg.study))
    detail(runs, console, cfg.status.rows)
    return 0


def overview(folder: str, console: Console) -> None:
    """Print a line for each study: the number of runs in each state, and the time of the last change."""
    now = datetime.now(UTC)
    table = Table("study", box=None, pad_edge=False)
    for heading in ("runs", *STATES, "unreadable", "last change"):
        table.add_column(heading, justify="right")
    found = studies(folder)
    for study in found:
        runs = [read(path) for path in run_folders(folder, study)]
        counts = Counter(run.shown_state for run in runs)
        latest = max((run.status.updated for run in runs), default="")
        cells = [_coloured(state, str(counts[state])) if counts[state] else "" for state in (*STATES, "unreadable")]
        table.add_row(study, str(len(runs)), *cells, _ago(latest, now))
    if not found:
        console.print(f"no runs in {folder}", markup=False)
        return
    console.print(table)
    console.print(f"runs of one study:  python run.py task=status study={found[0]}", markup=False, soft_wrap=True)


def detail(runs: list[Run], console: Console, rows: int | None) -> None:
    """Print a line for each run, at most `rows`; if there are more, unfinished runs come first.

    The time left includes the evaluation once a run of the study has finished one.
    """
    now = datetime.now(UTC)
    counts = Counter(run.shown_state for run in runs)
    shown = runs
    if rows is not None and len(runs) > rows:
        shown = sorted(runs, key=lambda run: run.shown_state == "done")[:rows]
    table = Table("run", "seed", "state", box=None, pad_edge=False)
    for heading in ("progress", "val PSNR", "left"):
        table.add_column(heading, justify="right")
    table.add_column("where")
    table.add_column("message", overflow="fold")
    numbers = {run: Record(run.folder).job() for run in shown if run.state != "done"}
    jobs = queue.jobs() if any(numbers.values()) else None
    evaluation = evaluation_seconds(runs) if counts["running"] else None
    for run in shown:
        table.add_row(*_cells(run, now, _job(run, numbers.get(run), jobs), evaluation))
    told = ", ".join(f"{counts[state]} {state}" for state in (*STATES, "unreadable") if counts[state])
    console.print(f"{runs[0].study}: {len(runs)} runs: {told}", markup=False, soft_wrap=True)
    console.print(table)
    if len(shown) < len(runs):
        console.print(f"... and {len(runs) - len(shown)} more (status.rows=null shows all)", markup=False)


def _job(run: Run, number: str | None, jobs: Mapping[str, str] | None) -> str:
    """Return the state of a run's Slurm job; empty for runs without one and for finished jobs."""
    if number is None:
        return ""
    if jobs is None:
        return f"Slurm job {number}" if run.state in ("queued", "running") else ""
    if number in jobs:
        return f"Slurm job {number}: {jobs[number]}"
    gone = f"its Slurm job {number} is gone; the same command submits it again"
    return gone if run.state in ("queued", "running") else ""


def _cells(run: Run, now: datetime, job: str, evaluation: float | None) -> list[str]:
    stored, look = run.status, progress(run, now)
    share = f" {100 * look.step // stored.steps:3d}%" if stored.steps else ""
    message = run.problem or stored.message
    if run.died:
        message = f"its process {stored.pid} is gone; the same command goes on with it"
    elif run.state == "running" and look.silent is not None and look.silent > SILENT:
        message = f"silent for {duration(look.silent)}"
    elif look.evaluates:
        message = str(look)
    message, left = "; ".join(filter(None, (job, message))), look.whole(evaluation)
    return [
        run.variant,
        "" if run.seed is None else str(run.seed),
        _coloured(run.shown_state, run.shown_state),
        f"{look.step}/{stored.steps}{share}" if stored.steps else "",
        "" if look.psnr is None else f"{look.psnr:.2f}",
        "" if left is None else duration(left),
        " ".join(filter(None, (stored.host, stored.device))),
        message.replace("[", r"\["),
    ]


def _coloured(state: str, text: str) -> str:
    return f"[{COLOURS[state]}]{text}[/]" if state in COLOURS else text


def no_study(folder: str, study: str) -> str:
    """Return the message about a study without runs."""
    found = studies(folder)
    near = nearest(study, found)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(found)}" if found else "there are none yet"
    return f"study={study}: no runs of it in {folder}; {hint}"


def _ago(time: str, now: datetime) -> str:
    try:
        return f"{duration(max(0.0, (now - datetime.fromisoformat(time)).total_seconds()))} ago"
    except ValueError:
        return ""
