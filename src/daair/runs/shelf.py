"""Move, delete and rename the folders of runs, and mark runs so that they are trained again.

Each function locks what it changes, so a run that a process works on is never touched, and a process that is killed in
between leaves a whole run or none.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from daair.errors import UserError
from daair.files import safe_name
from daair.runs import store
from daair.runs.record import Record
from daair.runs.store import Run

ARCHIVE = "archive"
"""Folder below that of the runs into which they are archived: `archive/<study>/<label>-<config id>/seed<k>`."""

DELETED = ".deleted-"
"""How the name of a folder begins that is being deleted."""


def archive(run: Run, runs: Path) -> Path:
    """Move a run's folder into the archive, as `<runs>/archive/<study>/...`, and return its new place.

    Raises:
        UserError: It is there already, another run has its place, or a process works on it.
    """
    inside = run.folder.relative_to(runs)
    if inside.parts[0] == ARCHIVE:
        raise UserError(f"{run.folder} is archived already")
    target = runs / ARCHIVE / inside
    with _held(run):
        if target.exists():
            raise UserError(f"{target} is there already; delete or rename it before another one is archived")
        target.parent.mkdir(parents=True, exist_ok=True)
        run.folder.rename(target)
    _drop_empty(run.folder.parent)
    return target


def delete(run: Run) -> None:
    """Delete a run's folder with everything in it.

    Raises:
        UserError: A process works on it.
    """
    with _held(run):
        trash = run.folder.with_name(f"{DELETED}{run.folder.name}-{_now()}")
        run.folder.rename(trash)
    for left in run.folder.parent.glob(f"{DELETED}*"):  # also what a process that was killed has left
        if left.is_symlink():
            left.unlink(missing_ok=True)
        while left.exists():
            with contextlib.suppress(FileNotFoundError):  # another process deletes it, too
                shutil.rmtree(left)
    _drop_empty(run.folder.parent)


def rerun(run: Run, runs: Path) -> None:
    """Queue a run anew, so that the sweep that it belongs to trains it from the start; see `set_aside`.

    Raises:
        UserError: It was only evaluated, does not lie where its sweep looks for it, its config is damaged, or a process
            works on it.
    """
    if run.folder.name == store.EVALUATED_FOLDER:
        raise UserError(f"{run.folder} was only evaluated; task=evaluate measures it again")
    with _held(run) as record:
        config, overrides, steps = record.config(), record.overrides(), record.status().steps
        place = store.study_folder(runs, str(config.get("study")))
        if place != run.folder.parents[1]:
            raise UserError(f"{run.folder} is not trained there but in {place}; move it back first")
        set_aside(run.folder)
        record.queue(config, steps, overrides)


def set_aside(folder: Path) -> None:
    """Rename a run's folder to a hidden one, `.seed<k>-<time>`, which is kept; one with its label takes its place."""
    text = Record(folder).summary().get("label")
    folder.rename(folder.with_name(f".{folder.name}-{_now()}"))
    folder.mkdir()
    if text:
        Record(folder).summarise(label=text)


def label(runs: Sequence[Run], text: str) -> Path:
    """Rename the folder that all seeds of a config share, and return the new one.

    Args:
        runs: All runs in the folder.
        text: The label; where it is no name for a folder, the runs' records have it as well.

    Raises:
        UserError: A process works on one of the runs.
    """
    variant = runs[0].folder.parent
    target = variant.with_name(f"{safe_name(text)}-{runs[0].id}")
    with contextlib.ExitStack() as held:
        for record in [held.enter_context(_held(run)) for run in runs]:
            if record.summary().get("label") or safe_name(text) != text:
                record.summarise(label=text)
        if target != variant:
            variant.rename(target)
    return target


@contextlib.contextmanager
def _held(run: Run) -> Iterator[Record]:
    """Hold a run's folder, which no process works on; its state may be another one than when `run` was read."""
    record = Record(run.folder)
    with record.lock():
        now = store.read(run.folder)
        if now.state == "running":
            raise UserError(f"{run.folder} is running on {now.status.host}; stop it first")
        yield record


def _drop_empty(variant: Path) -> None:
    """Remove the folder of a config that has no runs any more, and that of its study if nothing is left in it."""
    with contextlib.suppress(OSError):  # something is in them
        variant.rmdir()
        variant.parent.rmdir()


def _now() -> str:
    return f"{datetime.now():%Y%m%dT%H%M%S-%f}"
