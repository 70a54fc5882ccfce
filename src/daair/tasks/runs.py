"""`task=runs`: list, archive, delete, rerun or label the runs of studies that a condition selects.

    python run.py task=runs study=rank where="experts.rank==8 and state=='failed'"
    python run.py task=runs study=rank where="state=='failed'" action=delete

| action | what it does with the runs |
| --- | --- |
| list | prints them, as `task=status` does |
| archive | moves their folders to `<paths.runs>/archive/<study>/`; `study=archive/rank` names them there |
| delete | deletes their folders after a question, or with `ask=false` without one |
| rerun | queues them anew, so that their sweep trains them from the start; the old folders are kept, hidden |
| label | gives the configs the label `label=TEXT`, which names their rows; all seeds of a config share it |

A condition (`daair.runs.where`) names keys of the config (`experts.rank`), groups (`router`), and what `facts` lists.
Runs that a process works on, here or elsewhere, stay as they are; a line says so, and the exit status is 1.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from daair.config.jobs import Job
from daair.config.overrides import command
from daair.engine.progress import Reporter
from daair.errors import UserError
from daair.report.config_columns import read_config
from daair.runs import shelf, squeue, store
from daair.runs.record import Record
from daair.runs.store import Run
from daair.runs.where import Where
from daair.tasks.status import detail, no_study

LISTED = 20
"""Most lines of what was done that are printed; the rest is counted."""


def runs(job: Job) -> int:
    """Do `job.config.action` with the runs of the studies that `job.config.where` selects; return the exit status.

    Raises:
        UserError: There is no such study, the condition is none, or nobody can be asked whether to delete.
    """
    cfg, reporter = job.config, Reporter()
    root, action = Path(cfg.paths.runs), cfg.action or "list"
    found = [run for study in cfg.studies or store.studies(root) for run in of_study(root, study)]
    chosen = select(found, cfg.where)
    if not chosen:
        reporter.say(f"none of {len(found)} runs is selected")
        return 0
    if action == "list":
        show(chosen, reporter, cfg.status.rows)
        return 0
    parts = configs(chosen) if action == "label" else [[run] for run in chosen]
    waiting = dict(waiting_in_slurm([run for own in parts for run in own]))
    free = [own for own in parts if waiting.keys().isdisjoint(own)]
    if action == "delete" and free and cfg.ask and not agreed(free, reporter, cfg.status.rows):
        reporter.say("nothing was deleted")
        return 1
    work = {
        "archive": lambda own: f"{own[0].folder} is {shelf.archive(own[0], root)} now",
        "delete": lambda own: shelf.delete(own[0]) or f"{own[0].folder} is deleted",
        "rerun": lambda own: shelf.rerun(own[0], root) or f"{own[0].folder} is queued",
        "label": lambda own: f"{own[0].folder.parent} is {shelf.label(own, cfg.label)} now",
    }[action]
    done, problems = each(free, work)
    tell([line for _, line in done], reporter)
    if action == "rerun":
        tell([f"train them by the command of their sweep, or by {text}" for text in commands(done)], reporter)
    for line in (*waiting.values(), *problems):
        reporter.say(f"left as it is: {line}")
    return int(bool(waiting or problems))


def of_study(root: Path, study: str) -> list[Run]:
    """Return the runs of a study.

    Raises:
        UserError: It has none; the message names the nearest that has.
    """
    found = [store.read(folder) for folder in store.run_folders(root, study)]
    if not found:
        raise UserError(no_study(str(root), study))
    return found


def select(found: Sequence[Run], condition: str | None) -> list[Run]:
    """Return the runs that meet a condition; None = all.

    Raises:
        UserError: It is no condition, or names a key that no run has.
    """
    if condition is None:
        return list(found)
    where, values = Where(condition), [facts(run) for run in found]
    where.check({key for one in values for key in one})
    return [run for run, one in zip(found, values, strict=True) if where(one)]


def facts(run: Run) -> dict[str, Any]:
    """Return what a condition may name: the config by dotted keys, groups with their choices, and the run's state.

    `state` is also `unreadable`, for a run whose status is damaged; `label` is that of its row in a table. A run whose
    config is damaged has none of its keys.
    """
    record, values = Record(run.folder), {}
    try:
        pieces = read_config(record.config_file.read_text(encoding="utf-8"))
        values = {key: value for piece in pieces for key, value in piece}
        groups = {key.removeprefix("choices."): value for key, value in values.items() if key.startswith("choices.")}
        values = {key: value for key, value in values.items() if key not in groups} | groups
    except (OSError, ValueError):
        pass  # the run can be selected by its state
    try:
        label = record.summary().get("label")
    except UserError:
        label = None
    status = run.status
    return values | {
        "study": run.study, "label": label or run.label, "id": run.id, "variant": run.variant, "seed": run.seed,
        "run": run.name, "state": run.shown_state, "attempt": status.attempt,
        "step": status.step, "steps": status.steps, "host": status.host, "device": status.device,
        "commit": status.commit, "message": run.problem or status.message, "queued": status.queued or None,
        "started": status.started or None, "updated": status.updated or None, "finished": status.finished or None,
    }  # fmt: skip


def show(chosen: Sequence[Run], reporter: Reporter, rows: int | None) -> None:
    """Print the runs as `task=status` does, study by study."""
    for _, own in groupby(chosen, key=lambda run: run.folder.parents[1]):
        detail(list(own), reporter.console, rows)


def configs(chosen: Sequence[Run]) -> list[list[Run]]:
    """Return all runs of each config that has a chosen one, since the seeds of a config share a folder."""
    variants = dict.fromkeys(run.folder.parent for run in chosen)
    folders = [sorted(filter(store.is_named_like_a_run, variant.iterdir())) for variant in variants]
    return [[store.read(folder) for folder in own] for own in folders]


def waiting_in_slurm(chosen: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    """Yield the runs that wait for a Slurm job, or may do so, each with a line that says so."""
    states = ("queued", "interrupted")  # a job that was preempted waits again
    numbers = {run: number for run in chosen if run.state in states and (number := Record(run.folder).job())}
    jobs = squeue.jobs() if numbers else {}
    if jobs is None and shutil.which("squeue") is None:  # the runs were submitted from another machine
        jobs = {}
    for run, number in numbers.items():
        if jobs is None:
            yield run, f"{run.folder} may wait as Slurm job {number}, but Slurm does not answer; try again later"
        elif number in jobs:
            yield run, f"{run.folder} waits as Slurm job {number}; scancel {number} first"


def each(
    parts: Sequence[Sequence[Run]], work: Callable[[Sequence[Run]], str]
) -> tuple[list[tuple[Sequence[Run], str]], list[str]]:
    """Return the parts that work was done on, with its lines, and the reasons why it was not done on others."""
    done, problems = [], []
    for own in parts:
        try:
            done.append((own, work(own)))
        except UserError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{own[0].folder}: {error}")
    return done, problems


def agreed(parts: Sequence[Sequence[Run]], reporter: Reporter, rows: int | None) -> bool:
    """Show what is to be deleted and ask; return whether the answer is yes.

    Raises:
        UserError: There is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise UserError("action=delete: there is no terminal to ask on; ask=false deletes without a question")
    chosen = [run for own in parts for run in own]
    show(chosen, reporter, rows)
    size = sum(file.lstat().st_size for run in chosen for file in run.folder.rglob("*")) / 1e6
    count = f"{len(chosen)} run{'s' if len(chosen) > 1 else ''}"
    reporter.say(f"Delete {count} with all checkpoints, weights and results ({size:,.0f} MB)? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def commands(done: Sequence[tuple[Sequence[Run], str]]) -> Iterator[str]:
    """Yield the command that trains the runs of each config, where it is known."""
    runs = [own[0] for own, _ in done]
    for _, group in groupby(runs, key=lambda run: run.folder.parent):
        own = list(group)
        if (given := Record(own[0].folder).overrides()) is not None:
            yield command(given, [run.seed for run in own if run.seed is not None])


def tell(lines: Sequence[str], reporter: Reporter) -> None:
    """Print lines, at most `LISTED` of them."""
    for line in lines[:LISTED]:
        reporter.say(line)
    if len(lines) > LISTED:
        reporter.say(f"... and {len(lines) - LISTED} more")
